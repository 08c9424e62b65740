//! Worked examples of official guidance, to the minor unit; what happens with a category, a place and a VAT id; and that a quote is
//! the same after a journey as JSON.

use std::sync::Arc;

use common::cart::Sku;
use common::geo::{CountryCode, Subdivisions};
use common::money::{Currency, Minor};
use common::tax::quote::{Notice, QuoteError, QuoteLine, QuoteRequest, TaxQuote};
use common::tax::{Category, Percent, Period, Stacking, TaxRate, TaxTable, TaxType, parse_date};

pub fn table() -> TaxTable {
    TaxTable::load(Arc::new(Subdivisions::load().unwrap())).unwrap()
}

pub fn country(text: &str) -> CountryCode {
    CountryCode::parse(text).unwrap()
}

/// One line for a consumer in `place`, such as `GB` or `US-CA`, on a day of 2026.
pub fn request(place: &str, currency: &str, amount_minor: i64) -> QuoteRequest {
    let (code, subdivision) = place.split_once('-').map_or((place, None), |(code, subdivision)| (code, Some(subdivision)));
    QuoteRequest {
        lines: vec![line(amount_minor, Category::Standard)],
        currency: Currency::parse(currency).unwrap(),
        country: country(code),
        subdivision: subdivision.map(str::to_owned),
        prices_include_tax: None,
        seller_country: None,
        vat_id: None,
        date: parse_date("2026-11-23").unwrap(),
    }
}

fn line(amount_minor: i64, category: Category) -> QuoteLine {
    QuoteLine { sku: Sku::parse("SKU-1").unwrap(), quantity: 1, amount_minor: Minor::new(amount_minor).unwrap(), category }
}

fn row(code: &str, tax: TaxType, category: Category, percent: &str) -> TaxRate {
    TaxRate {
        country: country(code),
        subdivision: None,
        tax,
        category,
        percent: Percent::parse(percent).unwrap(),
        period: Period::ALWAYS,
        stacking: Stacking::Alone,
        source: "operator".into(),
        as_of: parse_date("2026-11-20").unwrap(),
    }
}

/// `10000 + VAT 2000 = 12000`: net, the parts, gross.
fn sums(quote: &TaxQuote) -> String {
    let parts: Vec<String> = quote.rates.iter().map(|rate| format!(" + {} {}", rate.name, rate.tax_minor.get())).collect();
    format!("{}{} = {}", quote.net_minor.get(), parts.concat(), quote.gross_minor.get())
}

struct Example {
    place: &'static str,
    currency: &'static str,
    included: bool,
    amount_minor: i64,
    category: Category,
    sums: &'static str,
}

const fn of(place: &'static str, currency: &'static str, included: bool, amount_minor: i64, sums: &'static str) -> Example {
    Example { place, currency, included, amount_minor, category: Category::Standard, sums }
}

const EXAMPLES: [Example; 26] = [
    // GOV.UK, "Work out VAT": 20 % is the price times 1.2, and the price before VAT the one with it divided by 1.2; 5 % with 1.05.
    of("GB", "GBP", false, 10_000, "10000 + VAT 2000 = 12000"),
    of("GB", "GBP", true, 12_000, "10000 + VAT 2000 = 12000"),
    of("GB", "GBP", true, 2_999, "2499 + VAT 500 = 2999"),
    Example { category: Category::Reduced, ..of("GB", "GBP", true, 10_500, "10000 + VAT (reduced) 500 = 10500") },
    // § 12 UStG: 19 %, and 7 % for what its annex 2 names; a price with tax has 19/119 of it.
    of("DE", "EUR", true, 11_900, "10000 + VAT 1900 = 11900"),
    of("DE", "EUR", false, 4_999, "4999 + VAT 950 = 5949"),
    Example { category: Category::Reduced, ..of("DE", "EUR", true, 1_070, "1000 + VAT (reduced) 70 = 1070") },
    // Article 278 CGI: 20 %. service-public.fr, "TVA": 100 € hors taxe are 120 € with it.
    of("FR", "EUR", false, 10_000, "10000 + VAT 2000 = 12000"),
    // A sixth of 9.99 is 1.665: half a cent goes up.
    of("FR", "EUR", true, 999, "832 + VAT 167 = 999"),
    // CDTFA, "Know your sales and use tax rate": the statewide base rate is 7.25 %.
    of("US-CA", "USD", false, 10_000, "10000 + Sales tax 725 = 10725"),
    of("US-CA", "USD", false, 1_999, "1999 + Sales tax 145 = 2144"),
    // 100.00 with tax: 10000 x 0.0725 / 1.0725 = 675.99.
    of("US-CA", "USD", true, 10_000, "9324 + Sales tax 676 = 10000"),
    of("US-OR", "USD", false, 10_000, "10000 = 10000"),
    // Canada Revenue Agency, "Charge and collect the tax - which rate": 13 % HST in Ontario; 5 % GST in Alberta.
    of("CA-ON", "CAD", false, 10_000, "10000 + HST 1300 = 11300"),
    of("CA-AB", "CAD", false, 10_000, "10000 + GST 500 = 10500"),
    // Revenu Quebec, "Calculating the taxes": QST is 9.975 % of the price without GST. 100.00 becomes 114.98.
    of("CA-QC", "CAD", false, 10_000, "10000 + GST 500 + QST 998 = 11498"),
    of("CA-QC", "CAD", true, 11_498, "10000 + GST 500 + QST 998 = 11498"),
    // Government of British Columbia: 7 % PST on the price, beside 5 % GST.
    of("CA-BC", "CAD", false, 999, "999 + GST 50 + PST 70 = 1119"),
    // Australian Taxation Office, "How GST works": one eleventh of the price with GST.
    of("AU", "AUD", true, 11_000, "10000 + GST 1000 = 11000"),
    of("AU", "AUD", true, 100, "91 + GST 9 = 100"),
    // ESTV, "Steuersätze": 8.1 % since 2024-01-01; 100 % + 8.1 % when the tax is in the price.
    of("CH", "CHF", false, 10_000, "10000 + VAT 810 = 10810"),
    of("CH", "CHF", true, 10_810, "10000 + VAT 810 = 10810"),
    // National Tax Agency, "Consumption tax": 10 %, 8 % for food. The yen has no smaller unit.
    of("JP", "JPY", true, 1_100, "1000 + Consumption tax 100 = 1100"),
    Example { category: Category::Reduced, ..of("JP", "JPY", true, 108, "100 + Consumption tax (reduced) 8 = 108") },
    // National Bureau for Revenue of Bahrain: 10 % since 2022. The dinar has a thousand fils.
    of("BH", "BHD", false, 12_345, "12345 + VAT 1235 = 13580"),
    // No tax is known for Kuwait.
    of("KW", "KWD", true, 1_000, "1000 = 1000"),
];

#[test]
fn worked_examples_match_to_the_minor_unit() {
    let table = table();
    for Example { place, currency, included, amount_minor, category, sums: expected } in EXAMPLES {
        let asked = QuoteRequest {
            prices_include_tax: Some(included),
            lines: vec![line(amount_minor, category)],
            ..request(place, currency, amount_minor)
        };
        let quote = table.quote(&asked).unwrap();
        assert_eq!(sums(&quote), expected, "{place} {amount_minor}, tax included: {included}");
        let parts: i64 = quote.lines[0].parts.iter().map(|part| part.tax_minor.get()).sum();
        assert_eq!(parts, quote.tax_minor.get(), "{place}");
    }
}

#[test]
fn prices_include_tax_as_usual_where_the_customer_is_unless_the_store_says_otherwise() {
    let table = table();
    let quote = |place, include| table.quote(&QuoteRequest { prices_include_tax: include, ..request(place, "USD", 10_000) }).unwrap();
    assert_eq!(sums(&quote("GB", None)), "8333 + VAT 1667 = 10000");
    assert_eq!(sums(&quote("GB", Some(false))), "10000 + VAT 2000 = 12000");
    assert_eq!(sums(&quote("US-CA", None)), "10000 + Sales tax 725 = 10725");
    assert!(quote("GB", None).prices_include_tax && !quote("US-CA", None).prices_include_tax);
}

#[test]
fn every_line_is_rounded_by_itself_and_a_rate_is_shown_once() {
    let mut asked = QuoteRequest { prices_include_tax: Some(false), ..request("GB", "GBP", 33) };
    asked.lines = vec![line(33, Category::Standard), line(33, Category::Standard), line(33, Category::Reduced)];
    let quote = table().quote(&asked).unwrap();
    // 6.6 twice and 1.65: 7, 7 and 2.
    assert_eq!(sums(&quote), "99 + VAT 14 + VAT (reduced) 2 = 115");
    assert_eq!(quote.lines.iter().map(|line| line.gross_minor.get()).collect::<Vec<_>>(), [40, 40, 35]);
    let rate = &quote.rates[0];
    assert_eq!(
        (rate.rate_ppm, rate.source.as_str(), rate.as_of.to_string().as_str()),
        (200_000, "eu-vat-rates-data 2026.9.29 (MIT)", "2026-09-29")
    );
}

#[test]
fn the_day_picks_the_rate() {
    let quote = |date| table().quote(&QuoteRequest { date: parse_date(date).unwrap(), ..request("DE", "EUR", 11_900) }).unwrap();
    assert_eq!(sums(&quote("2020-06-30")), "10000 + VAT 1900 = 11900");
    assert_eq!(sums(&quote("2020-07-01")), "10259 + VAT 1641 = 11900");
    assert_eq!(sums(&quote("2021-01-01")), "10000 + VAT 1900 = 11900");
}

#[test]
fn a_category_with_one_rate_has_it_and_one_with_several_has_the_standard_rate_until_an_operator_decides() {
    let table = table();
    let reduced = |place| QuoteRequest { lines: vec![line(10_550, Category::Reduced)], ..request(place, "EUR", 0) };
    // France publishes six reduced rates.
    let quote = table.quote(&reduced("FR")).unwrap();
    assert_eq!((sums(&quote).as_str(), &quote.notices[..]), ("8792 + VAT 1758 = 10550", &[Notice::AmbiguousCategory][..]));
    // Article 278-0 bis CGI: 5.5 % on books, on whatever medium.
    let decided = table.with_overrides(vec![row("FR", TaxType::Vat, Category::Reduced, "5.5")]).unwrap();
    let quote = decided.quote(&reduced("FR")).unwrap();
    assert_eq!((sums(&quote).as_str(), &quote.notices[..]), ("10000 + VAT (reduced) 550 = 10550", &[][..]));
    // Australia has no reduced rate: what is favored elsewhere is not favored there.
    let quote = table.quote(&reduced("AU")).unwrap();
    assert_eq!((sums(&quote).as_str(), &quote.notices[..]), ("9591 + GST 959 = 10550", &[][..]));
}

#[test]
fn a_tax_without_a_rate_of_the_category_stays_beside_one_that_has_it() {
    let table = table().with_overrides(vec![row("CA", TaxType::Gst, Category::Reduced, "0")]).unwrap();
    let quote = |place| table.quote(&QuoteRequest { lines: vec![line(10_000, Category::Reduced)], ..request(place, "CAD", 0) }).unwrap();
    assert_eq!(sums(&quote("CA-BC")), "10000 + GST (reduced) 0 + PST 700 = 10700");
    // Ontario's tax is another one: the federal reduction does not come on top of it.
    assert_eq!(sums(&quote("CA-ON")), "10000 + HST 1300 = 11300");
}

#[test]
fn places_are_never_guessed() {
    let table = table();
    let error = |place| table.quote(&request(place, "USD", 100)).unwrap_err();
    assert_eq!(error("US"), QuoteError::SubdivisionRequired { country: country("US") });
    assert_eq!(error("CA"), QuoteError::SubdivisionRequired { country: country("CA") });
    assert_eq!(error("ZZ"), QuoteError::UnknownCountry { country: country("ZZ") });
    assert_eq!(error("US-ZZ"), QuoteError::UnknownSubdivision { country: country("US") });
    let quote = table.quote(&request("US-ca", "USD", 100)).unwrap();
    assert_eq!(quote.subdivision.as_deref(), Some("CA"));
    assert_eq!(quote.lines[0].parts[0].subdivision.as_deref(), Some("CA"));
    assert_eq!(table.quote(&request("US-OR", "USD", 100)).unwrap().notices, [Notice::NoTaxKnown]);
    // A subdivision where there is one rate for all changes nothing.
    assert_eq!(sums(&table.quote(&request("DE-BY", "EUR", 11_900)).unwrap()), "10000 + VAT 1900 = 11900");
}

fn business(seller: Option<&str>, place: &str, vat_id: &str, included: bool) -> TaxQuote {
    let asked = QuoteRequest {
        seller_country: seller.map(country),
        vat_id: Some(vat_id.to_owned()),
        prices_include_tax: Some(included),
        ..request(place, "EUR", 11_900)
    };
    table().quote(&asked).unwrap()
}

#[test]
fn a_business_in_another_country_owes_the_tax_itself() {
    // The price without tax is what is paid: nothing is added, and what was in the price is taken out.
    let quote = business(Some("FR"), "DE", "de 123 456 789", false);
    assert!(quote.reverse_charged && quote.lines[0].parts.is_empty() && quote.notices.is_empty());
    assert_eq!((sums(&quote).as_str(), quote.vat_id.as_deref()), ("11900 + VAT 0 = 11900", Some("DE123456789")));
    let quote = business(Some("FR"), "DE", "DE123456789", true);
    assert_eq!((quote.reverse_charged, sums(&quote).as_str(), quote.tax_minor), (true, "10000 + VAT 0 = 10000", Minor::ZERO));
    // A seller outside of the EU; Greece's own prefix; Great Britain, Switzerland and Norway.
    for (seller, place, vat_id) in [
        ("US", "DE", "DE123456789"),
        ("DE", "GR", "EL123456789"),
        ("DE", "GB", "GB123456789"),
        ("DE", "CH", "CHE-123.456.788 TVA"),
        ("DE", "NO", "NO123456789MVA"),
    ] {
        assert!(business(Some(seller), place, vat_id, false).reverse_charged, "{seller} to {place}");
    }
}

#[test]
fn any_doubt_about_a_business_is_told_and_taxed_like_a_consumer() {
    for (seller, place, vat_id, notice) in [
        (Some("FR"), "DE", "DE12345678", Notice::VatIdMalformed),
        (Some("FR"), "DE", "FR12345678901", Notice::VatIdOfOtherCountry),
        (None, "DE", "DE123456789", Notice::SellerCountryUnknown),
        (Some("DE"), "DE", "DE123456789", Notice::DomesticBusiness),
        // Monaco has France's VAT, Liechtenstein Switzerland's.
        (Some("MC"), "FR", "FR12345678901", Notice::DomesticBusiness),
        (Some("LI"), "CH", "CHE123456788", Notice::DomesticBusiness),
        (Some("DE"), "AU", "DE123456789", Notice::VatIdNotUsedHere),
    ] {
        let quote = business(seller, place, vat_id, true);
        assert_eq!(
            (quote.reverse_charged, &quote.notices[..], &quote.vat_id),
            (false, &[notice][..], &None),
            "{seller:?} {place} {vat_id}"
        );
        assert!(quote.tax_minor > Minor::ZERO);
    }
    let quote = business(Some("FR"), "DE", "  ", true);
    assert!(quote.notices.is_empty(), "an empty field is no VAT id");
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let table = table();
    let mut asked = request("GB", "GBP", 1);
    asked.lines.clear();
    assert_eq!(table.quote(&asked), Err(QuoteError::Lines));
    asked.lines = vec![line(1, Category::Standard); 51];
    assert_eq!(table.quote(&asked), Err(QuoteError::Lines));
    let largest = |included| QuoteRequest { prices_include_tax: Some(included), ..request("GB", "GBP", 1_000_000_000_000_000) };
    assert_eq!(table.quote(&largest(false)), Err(QuoteError::Amount));
    assert_eq!(sums(&table.quote(&largest(true)).unwrap()), "833333333333333 + VAT 166666666666667 = 1000000000000000");
    let absurd = table.with_overrides(vec![row("GB", TaxType::Gst, Category::Standard, "80.0001")]).unwrap();
    assert_eq!(absurd.quote(&request("GB", "GBP", 1)), Err(QuoteError::RatesTooHigh { country: country("GB") }));
}

#[test]
fn requests_quotes_and_errors_survive_a_journey() {
    let asked = QuoteRequest { vat_id: Some("x".into()), seller_country: Some(country("FR")), ..request("CA-QC", "CAD", 10_000) };
    let json = serde_json::to_string(&asked).unwrap();
    assert!(json.contains(r#""date":"2026-11-23""#), "{json}");
    assert_eq!(serde_json::from_str::<QuoteRequest>(&json).unwrap(), asked);
    let quote = table().quote(&asked).unwrap();
    let json = serde_json::to_string(&quote).unwrap();
    assert_eq!(serde_json::from_str::<TaxQuote>(&json).unwrap(), quote);
    assert!(
        json.contains(r#"{"name":"QST","tax_type":"qst","country":"CA","subdivision":"QC","rate_ppm":99750,"tax_minor":998}"#),
        "{json}"
    );
    let error = QuoteError::SubdivisionRequired { country: country("US") };
    let json = serde_json::to_string(&error).unwrap();
    assert_eq!(json, r#"{"code":"subdivision_required","country":"US"}"#);
    assert_eq!(serde_json::from_str::<QuoteError>(&json).unwrap(), error);
}
