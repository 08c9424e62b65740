//! What a customer reads when something is wrong: what happened, that nothing was lost, and a way on.

use askama::Template;
use http::header::{HeaderValue, RETRY_AFTER};

use super::texts::Texts;
use super::visit::{Frame, Sources, Visit};
use crate::answer::Answer;
use crate::error::{ApiError, PageError, PageProblem};

/// A page about a problem.
#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub struct ProblemPage {
    /// What every page has.
    pub frame: Frame,
    /// What is wrong.
    pub title: &'static str,
    /// What to do about it.
    pub help: &'static str,
    /// Sentences that help whoever made the link; English.
    pub details: Vec<String>,
    /// The way back to the shop.
    pub back: Option<String>,
    /// Whether the same again may go better.
    pub again: bool,
    /// What the shop may be told; empty where it is of no use.
    pub request_id: String,
}

/// The page about an error that came before the page's own handler.
pub fn of_api_error(visit: &Visit, error: ApiError) -> Answer {
    answer(visit, PageError::from(error))
}

/// The page about a problem. Its cause, if there is one, is logged here.
pub fn answer(visit: &Visit, error: PageError) -> Answer {
    error.log(&visit.request_id);
    let PageError { problem, back, details, .. } = error;
    let frame = visit.frame();
    let (title, help) = words(frame.t, problem);
    let again = matches!(problem, PageProblem::TooMany | PageProblem::Unavailable | PageProblem::Internal);
    let request_id =
        if matches!(problem, PageProblem::Unavailable | PageProblem::Internal) { visit.request_id.clone() } else { String::new() };
    let page = ProblemPage { frame, title, help, details, back, again, request_id };
    match visit.page_with(problem.status(), &page, Sources::Own) {
        Ok(answer) if problem == PageProblem::Unavailable => answer.with(RETRY_AFTER, HeaderValue::from_static("2")),
        Ok(answer) => answer,
        // The template of problems is itself at fault, which its test keeps from happening.
        Err(_) => Answer::new(PageProblem::Internal.status(), title),
    }
}

fn words(t: &'static Texts, problem: PageProblem) -> (&'static str, &'static str) {
    match problem {
        PageProblem::NotFound => (t.problem_not_found, t.problem_not_found_help),
        PageProblem::Expired => (t.problem_expired, t.problem_expired_help),
        PageProblem::BadToken => (t.problem_bad_token, t.problem_bad_token_help),
        PageProblem::Used => (t.problem_used, t.problem_used_help),
        PageProblem::ReferenceUsed => (t.problem_reference_used, t.problem_reference_used_help),
        PageProblem::BadLink => (t.problem_bad_link, t.problem_bad_link_help),
        // Customers have no roles; the portal has words of its own.
        PageProblem::Role => (t.problem_not_found, t.problem_not_found_help),
        PageProblem::Form => (t.problem_form, t.problem_form_help),
        PageProblem::BadRequest => (t.problem_bad_request, t.problem_bad_request_help),
        PageProblem::TooMany => (t.problem_too_many, t.problem_too_many_help),
        PageProblem::NotPayable => (t.pay_title, t.pay_not_set_up),
        PageProblem::Unavailable => (t.problem_unavailable, t.problem_unavailable_help),
        PageProblem::Internal => (t.problem_internal, t.problem_internal_help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::locale::Language;
    use crate::pages::texts;

    #[test]
    fn every_problem_in_every_language() {
        for language in [Language::English, Language::German, Language::French, Language::Spanish] {
            for problem in PageProblem::ALL {
                let (title, help) = words(texts::of(language), problem);
                let page = ProblemPage {
                    frame: Frame::sample(),
                    title,
                    help,
                    details: vec!["<script>alert(1)</script>".into()],
                    back: Some("https://shop.example/?a=1&b=\"2".into()),
                    again: true,
                    request_id: "req_1".into(),
                };
                let html = page.render().unwrap();
                assert!(html.contains("req_1") && !html.contains("<script>alert") && !html.contains("b=\"2"), "{html}");
                assert!(problem.status().as_u16() >= 400);
            }
        }
    }
}
