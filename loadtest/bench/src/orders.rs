//! Orders as partners send them: requests to fulfill, one license key each, that nobody has asked for yet.

use std::net::SocketAddr;

use testkit::shop::Shop;

use crate::load::post;

/// Where the reference is in a body: all of it that changes.
const END: &str = r#"000000000000"}"#;

/// Orders of one store after another.
pub struct Orders {
    /// One for each store, ending in [`END`].
    templates: Vec<Vec<u8>>,
    made: usize,
}

impl Orders {
    /// Orders of these stores, with the API keys beside them.
    pub fn of(shops: &[(Shop, String)], sku: &str, edge: SocketAddr) -> Self {
        let template = |(shop, api_key): &(Shop, String)| {
            let body = format!(
                r#"{{"customer_email": "you@example.org", "items": [{{"sku": "{sku}", "quantity": 1}}], "external_reference": "{END}"#
            );
            post(edge, &format!("/api/v1/stores/{}/licensing/fulfill/", shop.slug), api_key, &body)
        };
        Self { templates: shops.iter().map(template).collect(), made: 0 }
    }

    /// How many were written; also the reference of the next one.
    pub fn made(&self) -> usize {
        self.made
    }

    /// Appends the next one to `buffer`.
    pub fn write(&mut self, buffer: &mut Vec<u8>) {
        let template = &self.templates[self.made % self.templates.len()];
        buffer.extend_from_slice(&template[..template.len() - END.len()]);
        buffer.extend_from_slice(format!("{:012}\"}}", self.made).as_bytes());
        self.made += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_differ_in_store_and_reference_alone() {
        let template = |store| format!(r#"POST /{store} {{"external_reference": "000000000000"}}"#).into_bytes();
        let mut orders = Orders { templates: vec![template("a"), template("b")], made: 0 };
        let mut next = || {
            let mut buffer = Vec::new();
            orders.write(&mut buffer);
            String::from_utf8(buffer).unwrap()
        };
        assert_eq!(next(), r#"POST /a {"external_reference": "000000000000"}"#);
        assert_eq!(next(), r#"POST /b {"external_reference": "000000000001"}"#);
        assert_eq!(next(), r#"POST /a {"external_reference": "000000000002"}"#);
    }
}
