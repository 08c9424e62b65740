//! Reading a query string: each parameter at most once, as UTF-8. Parameters that nobody asks for are left alone, as caches and trackers
//! add their own.

use common::json::FieldErrors;

use crate::error::ApiError;

/// Entries of a list when its query does not say.
const LIMIT_DEFAULT: i64 = 20;
/// The most that a query may ask for.
const LIMIT_MAX: i64 = 100;

/// The parameters of a query.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string. A parameter of `names` that is there twice is an error.
    pub fn parse(query: &str, names: &[&str]) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| names.contains(&&**name))
            .map(|(n, v)| (n.into(), v.into()))
            .collect();
        for name in names {
            if pairs.iter().filter(|(other, _)| other == name).count() > 1 {
                return Err(ApiError::field(name, "may be there once"));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// `limit`: how many entries of a list are wanted, or a complaint.
    pub fn limit(&self, errors: &mut FieldErrors) -> Option<i64> {
        let Some(text) = self.get("limit") else { return Some(LIMIT_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        if limit.is_none() {
            errors.add("limit", format!("must be an integer from 1 to {LIMIT_MAX}"));
        }
        limit
    }

    /// A parameter that must be there.
    pub fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::field(name, "is required"))
    }
}
