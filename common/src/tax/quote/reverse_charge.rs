//! Who owes the tax: usually the seller, who adds it to the price; but where a business buys a service from another country, the business
//! itself, and the seller charges none.
//!
//! The rule here: the customer's country has it for services bought from abroad, the store has said that it is in another one, and the
//! VAT id is well-formed and of the customer's country. Sources: in the EU articles 44 and 196 of directive 2006/112/EC; in Great Britain
//! HMRC's VAT Notice 741A, section 5; in Switzerland art. 45 of the VAT act (MWSTG); in Norway sections 3-30 and 11-3 of the VAT act
//! (merverdiavgiftsloven). What is sold are licenses, which are services delivered electronically; so Northern Ireland, which belongs to
//! the EU's VAT area for goods alone, is Great Britain here. That a number was given out, and to whom, is the seller's to check.

use super::{Notice, QuoteRequest};
use crate::geo::CountryCode;
use crate::tax::{VatId, VatIdError};

/// A customer who owes the tax himself.
pub(super) struct Business {
    pub(super) vat_id: VatId,
}

/// Whether the tax is the customer's to pay; if a VAT id was given and it is not, why.
pub(super) fn reverse_charge(request: &QuoteRequest) -> (Option<Business>, Option<Notice>) {
    let Some(text) = request.vat_id.as_deref().filter(|text| !text.trim().is_empty()) else { return (None, None) };
    let notice = match (VatId::parse(text, request.country), request.seller_country) {
        (Err(VatIdError::Malformed), _) => Notice::VatIdMalformed,
        (Err(VatIdError::OtherCountry { .. }), _) => Notice::VatIdOfOtherCountry,
        (Err(VatIdError::NotUsed { .. }), _) => Notice::VatIdNotUsedHere,
        (Ok(_), None) => Notice::SellerCountryUnknown,
        (Ok(_), Some(seller)) if territory(&seller) == territory(&request.country) => Notice::DomesticBusiness,
        (Ok(vat_id), Some(_)) => return (Some(Business { vat_id }), None),
    };
    (None, Some(notice))
}

/// Whose VAT holds there: some countries have their neighbor's.
fn territory(country: &CountryCode) -> &str {
    match country.as_str() {
        "LI" => "CH",
        "MC" => "FR",
        "IM" => "GB",
        own => own,
    }
}
