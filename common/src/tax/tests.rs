//! What the vendored rates must answer, how layers replace each other, and what a table refuses.

use super::*;

fn table() -> TaxTable {
    TaxTable::load(Arc::new(Subdivisions::load().unwrap())).unwrap()
}

fn country(text: &str) -> CountryCode {
    CountryCode::parse(text).unwrap()
}

fn day(text: &str) -> Date {
    parse_date(text).unwrap()
}

/// `CA-BC pst standard 7.00` and so on, as the table answers them.
fn shown(table: &TaxTable, code: &str, subdivision: Option<&str>, date: &str) -> Vec<String> {
    table.rates(country(code), subdivision, day(date)).unwrap().rates.iter().map(|rate| rate.to_string()).collect()
}

fn row(code: &str, subdivision: Option<&str>, percent: &str, from: Option<&str>, to: Option<&str>) -> TaxRate {
    TaxRate {
        country: country(code),
        subdivision: subdivision.map(str::to_owned),
        tax: TaxType::Vat,
        category: Category::Standard,
        percent: Percent::parse(percent).unwrap(),
        period: Period::new(from.map(day), to.map(day)).unwrap(),
        stacking: Stacking::Alone,
        source: "operator".into(),
        as_of: day("2026-11-20"),
    }
}

const TODAY: &str = "2026-11-22";

#[test]
fn the_body_is_the_published_shape() {
    let table = table();
    let body = serde_json::to_string(&table.rates(country("gb"), None, day(TODAY)).unwrap()).unwrap();
    let expected = concat!(
        r#"{"country":"GB","prices_include_tax":true,"as_of":"2026-09-29","rates":["#,
        r#"{"name":"VAT","tax_type":"vat","category":"standard","subdivision":null,"rate_percent":"20.00","rate_ppm":200000,"#,
        r#""valid_from":null,"source":"eu-vat-rates-data 2026.9.29 (MIT)"},"#,
        r#"{"name":"VAT (reduced)","tax_type":"vat","category":"reduced","subdivision":null,"rate_percent":"5.00","rate_ppm":50000,"#,
        r#""valid_from":null,"source":"eu-vat-rates-data 2026.9.29 (MIT)"}]}"#,
    );
    assert_eq!(body, expected);
}

#[test]
fn every_row_of_the_files_has_a_source_a_date_and_an_exact_percentage() {
    let mut percents = 0;
    for text in [load::RATES, load::OVERRIDES] {
        let rows = load::rates("a file", text).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows.len(), lines.len());
        for (row, line) in rows.iter().zip(lines) {
            assert!(!row.source.trim().is_empty(), "{line}");
            // The decimal text itself, with the point moved by four digits, is the number of parts per million.
            let text = line.split(',').nth(4).unwrap();
            let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
            let zeros = "0".repeat(4 - decimals.len());
            assert_eq!(format!("{whole}{decimals}{zeros}").parse(), Ok(row.percent.ppm()), "{line}");
            assert_eq!(row.percent.to_string().trim_end_matches('0').trim_end_matches('.'), text, "{line}");
            percents += 1;
        }
    }
    assert_eq!(percents, 292 + 21);
}

#[test]
fn rates_are_known_for_129_countries() {
    let table = table();
    assert_eq!(load::rates("", load::RATES).unwrap().iter().map(|row| row.country).collect::<std::collections::BTreeSet<_>>().len(), 129);
    // Kosovo has rates and no ISO code; it has no subdivisions either.
    assert_eq!(shown(&table, "XK", None, TODAY).len(), 2);
    let error = table.rates(country("XK"), Some("1"), day(TODAY)).unwrap_err();
    assert_eq!(error, TaxLookupError::UnknownSubdivision { country: country("XK") });
}

#[test]
fn corrections_lie_on_top() {
    let table = table();
    assert_eq!(shown(&table, "US", Some("ca"), TODAY), ["US-CA sales_tax standard 7.25"]);
    assert_eq!(shown(&table, "US", Some("NJ"), TODAY), ["US-NJ sales_tax standard 6.625"]);
    assert_eq!(shown(&table, "US", Some("LA"), TODAY), ["US-LA sales_tax standard 5.00"]);
    assert_eq!(shown(&table, "US", Some("LA"), "2029-12-31"), ["US-LA sales_tax standard 5.00"]);
    assert_eq!(shown(&table, "US", Some("LA"), "2030-01-01"), ["US-LA sales_tax standard 4.00"]);
    assert_eq!(shown(&table, "JP", None, TODAY), ["JP consumption_tax standard 10.00", "JP consumption_tax reduced 8.00"]);
    assert_eq!(shown(&table, "OM", None, TODAY), ["OM vat standard 5.00"]);
}

#[test]
fn no_tax_is_an_empty_answer_with_a_date() {
    let table = table();
    for code in ["KW", "QA", "HK"] {
        let answer = table.rates(country(code), None, day(TODAY)).unwrap();
        assert!(answer.rates.is_empty(), "{code}");
        assert_eq!(answer.as_of, day("2026-10-04"), "the whole table's date");
    }
    // A state without a sales tax.
    assert!(shown(&table, "US", Some("OR"), TODAY).is_empty());
}

#[test]
fn the_date_picks_what_was_in_force() {
    let table = table();
    let standard = |code: &str, date: &str| {
        let rates = table.owed(country(code), None, Category::Standard, day(date)).unwrap();
        rates.iter().map(|rate| (rate.percent.to_string(), rate.period.from().map(|d| d.to_string()))).collect::<Vec<_>>()
    };
    let one = |percent: &str, from: Option<&str>| vec![(percent.to_owned(), from.map(str::to_owned))];
    assert_eq!(standard("DE", "2020-06-30"), one("19.00", Some("2016-01-01")));
    assert_eq!(standard("DE", "2020-07-01"), one("16.00", Some("2020-07-01")));
    assert_eq!(standard("DE", "2020-12-31"), one("16.00", Some("2020-07-01")));
    assert_eq!(standard("DE", "2021-01-01"), one("19.00", Some("2021-01-01")));
    assert_eq!(standard("DE", "2015-12-31"), []);
    assert_eq!(standard("TH", "2021-09-30"), one("10.00", None));
    assert_eq!(standard("TH", "2021-10-01"), one("7.00", Some("2021-10-01")));
    assert_eq!(standard("TH", "2026-09-30"), one("7.00", Some("2021-10-01")));
    assert_eq!(standard("TH", "2026-10-01"), one("10.00", Some("2026-10-01")));
    assert_eq!(standard("RU", "2025-12-31"), one("20.00", None));
    assert_eq!(standard("RU", "2026-01-01"), one("22.00", Some("2026-01-01")));
    assert_eq!(shown(&table, "DE", None, TODAY), ["DE vat standard 19.00", "DE vat reduced 7.00"]);
}

#[test]
fn canada_adds_up() {
    let table = table();
    let ca = country("CA");
    let all = shown(&table, "CA", None, TODAY);
    assert_eq!(all.len(), 14);
    assert_eq!(all[0], "CA gst standard 5.00");
    for code in ["AB", "NT", "NU", "YT"] {
        assert!(all.contains(&format!("CA-{code} gst standard 5.00")), "{code}");
    }
    let expected = [
        ("AB", 50_000, "GST"),
        ("BC", 120_000, "GST PST"),
        ("MB", 120_000, "GST PST"),
        ("NB", 150_000, "HST"),
        ("NL", 150_000, "HST"),
        ("NS", 140_000, "HST"),
        ("NT", 50_000, "GST"),
        ("NU", 50_000, "GST"),
        ("ON", 130_000, "HST"),
        ("PE", 150_000, "HST"),
        ("QC", 149_750, "GST QST"),
        ("SK", 110_000, "GST PST"),
        ("YT", 50_000, "GST"),
    ];
    for (code, total_ppm, names) in expected {
        let owed = table.owed(ca, Some(code), Category::Standard, day(TODAY)).unwrap();
        assert_eq!(owed.iter().map(|rate| rate.percent.ppm()).sum::<u32>(), total_ppm, "{code}");
        assert_eq!(owed.iter().map(|rate| rate.name()).collect::<Vec<_>>().join(" "), names, "{code}");
        assert_eq!(table.rates(ca, Some(code), day(TODAY)).unwrap().rates, owed, "{code}");
    }
    assert_eq!(expected.len(), Subdivisions::load().unwrap().list(ca).unwrap().subdivisions.len());
    // A place in Canada that nobody named owes the federal tax only.
    assert_eq!(table.owed(ca, None, Category::Standard, day(TODAY)).unwrap().len(), 1);
}

#[test]
fn a_subdivision_without_rates_of_its_own_has_the_country_s() {
    let table = table();
    assert_eq!(shown(&table, "GB", Some("eng"), TODAY), shown(&table, "GB", None, TODAY));
    assert!(table.owed(country("US"), None, Category::Standard, day(TODAY)).unwrap().is_empty());
}

#[test]
fn unknown_places_are_named_errors() {
    let table = table();
    let zz = country("ZZ");
    assert_eq!(table.rates(zz, None, day(TODAY)).unwrap_err(), UnknownCountry { country: zz }.into());
    assert_eq!(table.rates(zz, Some("CA"), day(TODAY)).unwrap_err(), UnknownCountry { country: zz }.into());
    for text in ["ZZ", "", "US-CA", "California"] {
        let error = table.rates(country("US"), Some(text), day(TODAY)).unwrap_err();
        assert_eq!(error, TaxLookupError::UnknownSubdivision { country: country("US") }, "{text:?}");
    }
}

#[test]
fn prices_are_shown_as_consumers_see_them() {
    let table = table();
    for (code, include) in
        [("GB", true), ("DE", true), ("AU", true), ("JP", true), ("KW", true), ("US", false), ("CA", false), ("PR", false)]
    {
        assert_eq!(table.prices_include_tax(country(code)), include, "{code}");
    }
}

#[test]
fn operators_lay_dated_rates_on_top() {
    let base = table();
    let table = base.with_overrides(vec![row("GB", None, "17.5", Some("2027-01-01"), Some("2028-01-01"))]).unwrap();
    assert_eq!(shown(&table, "GB", None, "2026-12-31"), shown(&base, "GB", None, TODAY));
    assert_eq!(shown(&table, "GB", None, "2027-01-01"), ["GB vat standard 17.50", "GB vat reduced 5.00"]);
    assert_eq!(shown(&table, "GB", None, "2028-01-01"), ["GB vat standard 20.00", "GB vat reduced 5.00"]);
    assert_eq!(table.rates(country("GB"), None, day("2027-06-01")).unwrap().as_of, day("2026-11-20"));
    // The one on top of the one on top.
    let table = table.with_overrides(vec![row("GB", None, "18", Some("2027-06-01"), None)]).unwrap();
    assert_eq!(shown(&table, "GB", None, "2027-05-31")[0], "GB vat standard 17.50");
    assert_eq!(shown(&table, "GB", None, "2028-06-01")[0], "GB vat standard 18.00");
    // The oldest of the compiled-in rates: 2025-10-16.
    assert_eq!(table.oldest_as_of_s(day(TODAY)), Some(1_760_572_800));
    // From 2028-01-01 on the compiled-in 20 % would be back, if nobody had said what holds.
    let ended = |table: &TaxTable, date| table.ended(day(date)).map(ToString::to_string).collect::<Vec<_>>();
    let lone = base.with_overrides(vec![row("GB", None, "17.5", Some("2027-01-01"), Some("2028-01-01"))]).unwrap();
    assert_eq!(ended(&base, "2026-09-30"), [""; 0]);
    assert_eq!(ended(&base, "2026-10-01"), ["TH vat standard 7.00"]);
    assert_eq!(ended(&lone, "2027-12-31"), ["TH vat standard 7.00"]);
    assert_eq!(ended(&lone, "2028-01-01"), ["TH vat standard 7.00", "GB vat standard 17.50"]);
    assert_eq!(ended(&table, "2028-01-01"), ["TH vat standard 7.00"]);
    let abolished = TaxRate { tax: TaxType::None, ..row("TH", None, "0", Some("2026-10-01"), None) };
    assert_eq!(ended(&base.with_overrides(vec![abolished]).unwrap(), "2026-10-01"), [""; 0]);
    // No tax at all for a while.
    let holiday = TaxRate { tax: TaxType::None, ..row("GB", None, "0", Some("2029-01-01"), Some("2029-02-01")) };
    let table = table.with_overrides(vec![holiday]).unwrap();
    assert!(shown(&table, "GB", None, "2029-01-31").is_empty());
    assert_eq!(shown(&table, "GB", None, "2029-02-01").len(), 2);
}

#[test]
fn rows_that_cannot_be_right_are_refused() {
    let table = table();
    let error = |rows| table.with_overrides(rows).unwrap_err().to_string();
    assert_eq!(
        error(vec![row("GB", None, "17", None, Some("2027-01-01")), row("GB", None, "18", Some("2026-12-31"), None)]),
        "GB vat standard 18.00: in force at the same time as GB vat standard 17.00"
    );
    assert_eq!(error(vec![row("US", Some("ZZ"), "5", None, None)]), "US-ZZ vat standard 5.00: the subdivision is not one of ISO 3166-2");
    assert_eq!(error(vec![row("US", Some("ca"), "5", None, None)]), "US-ca vat standard 5.00: the subdivision is not one of ISO 3166-2");
    assert_eq!(
        error(vec![TaxRate { source: " ".into(), ..row("GB", None, "5", None, None) }]),
        "GB vat standard 5.00: the source is missing"
    );
    let none = TaxRate { tax: TaxType::None, ..row("GB", None, "5", None, None) };
    assert_eq!(error(vec![none]), "GB none standard 5.00: no tax has a rate of 0");
    let added = TaxRate { stacking: Stacking::Added, ..row("GB", None, "5", None, None) };
    assert_eq!(error(vec![added]), "GB vat standard 5.00: a country-wide rate has nothing to be added to");
}

#[test]
fn dates_are_days_and_nothing_looser() {
    assert_eq!(parse_date("2024-02-29").unwrap(), Date::constant(2024, 2, 29));
    for text in
        ["", "2026-02-29", "2026-13-01", "2026-1-1", "20260101", "2026-01-01T00:00:00Z", "+2026-01-0", "2026-01-01 ", "today", "２026-01-1"]
    {
        assert_eq!(parse_date(text), Err(DateError), "{text:?}");
    }
}
