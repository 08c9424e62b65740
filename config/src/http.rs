//! `[http]`: what customers see of us.

use crate::dsn::is_base_url;
use crate::reader::Section;

/// `[http]`.
#[derive(Debug, Clone)]
pub struct Http {
    /// Where customers reach the edge: `http(s)://host[:port]`, without a slash at the end.
    pub public_base_url: String,
}

impl Http {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let base_url = "http://host or https://host, with :port if need be, without a path and without a slash at the end";
        Self { public_base_url: from.needed_text("public_base_url", base_url, is_base_url) }
    }

    /// Whether customers come by https, so that cookies can be `__Host-` and `Secure`.
    pub fn is_https(&self) -> bool {
        self.public_base_url.starts_with("https://")
    }
}
