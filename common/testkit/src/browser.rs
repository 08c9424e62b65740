//! A browser as far as the pages need one: it keeps cookies, follows redirects and sends the forms that it was given.

use std::collections::BTreeMap;

use http::Method;

use crate::http::{Client, Response};

/// A browser of its own.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    /// By name.
    pub cookies: BTreeMap<String, String>,
    /// What it asks for as `Accept-Language`.
    pub language: &'static str,
}

/// A page that a browser has come to.
#[derive(Debug)]
pub struct Page {
    /// Without scheme and host.
    pub address: String,
    /// The last answer.
    pub answer: Response,
    /// Its body.
    pub text: String,
}

impl Browser {
    /// A new one, which knows nobody.
    pub fn new(client: Client) -> Self {
        Self { client, cookies: BTreeMap::new(), language: "en-GB,en;q=0.9" }
    }

    /// One request, without following.
    pub async fn ask(&mut self, method: Method, address: &str, form: &[(&str, &str)]) -> Response {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut headers = vec![("accept-language", self.language)];
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        if method == Method::POST {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        let answer = self.client.send(method, address, &headers, body).await.unwrap();
        for cookie in answer.headers.get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Goes to an address, and on to where it leads.
    pub async fn get(&mut self, address: &str) -> Page {
        self.follow(Method::GET, address, &[]).await
    }

    /// Sends a form of a page back to the page's own address, with the token that the page has.
    pub async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let token = page.form_token();
        let mut fields = fields.to_vec();
        fields.push(("form_token", &token));
        self.follow(Method::POST, &page.address.clone(), &fields).await
    }

    async fn follow(&mut self, method: Method, address: &str, form: &[(&str, &str)]) -> Page {
        let (mut address, mut answer) = (address.to_owned(), self.ask(method, address, form).await);
        for _ in 0..5 {
            if answer.status != 303 {
                break;
            }
            address = answer.header("location").to_owned();
            assert!(address.starts_with('/') && !address.starts_with("//"), "{address}");
            answer = self.ask(Method::GET, &address, &[]).await;
        }
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        Page { address, answer, text }
    }
}

impl Page {
    /// The status.
    pub fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }

    /// The token of the page's forms.
    pub fn form_token(&self) -> String {
        self.between("name=\"form_token\" value=\"", "\"").unwrap_or_default().to_owned()
    }

    /// What stands between two texts, the first time.
    pub fn between(&self, before: &str, after: &str) -> Option<&str> {
        let (_, rest) = self.text.split_once(before)?;
        Some(rest.split_once(after)?.0)
    }

    /// Fails the test unless this text is there.
    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "no {text:?} in {}", self.text);
        self
    }

    /// Fails the test if this text is there.
    #[track_caller]
    pub fn has_not(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{text:?} in {}", self.text);
        self
    }
}
