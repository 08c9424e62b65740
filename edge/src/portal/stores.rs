//! The stores that an account may see.

use askama::Template;

use super::frame::Frame;
use super::partner::Partner;
use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::PageError;
use crate::pages::visit::Visit;

/// All of them, and signing out.
#[derive(Debug, Template)]
#[template(path = "portal/stores.html")]
struct StoresPage {
    frame: Frame,
}

/// `GET /portal/`
pub fn show(edge: &Edge, visit: &Visit, partner: &Partner) -> Result<Answer, PageError> {
    visit.page(&StoresPage { frame: Frame::of(edge, visit, partner) })
}
