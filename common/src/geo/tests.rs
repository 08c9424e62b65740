//! What the vendored tables must hold, and how damage in them shows.

use super::*;

fn country(text: &str) -> CountryCode {
    CountryCode::parse(text).unwrap()
}

fn names(geo: &Subdivisions, code: &str) -> Vec<&'static str> {
    geo.list(country(code)).unwrap().subdivisions.iter().map(|s| s.name).collect()
}

#[test]
fn the_vendored_tables_are_whole() {
    let geo = Subdivisions::load().unwrap();
    assert_eq!(geo.iter().len(), 249);
    assert_eq!(geo.iter().map(|c| c.subdivisions.len()).sum::<usize>(), 5_046);
    assert_eq!(geo.iter().filter(|c| c.subdivisions.is_empty()).count(), 49);
    for (code, count) in [("US", 57), ("GB", 221), ("CA", 13), ("DE", 16), ("FR", 124), ("IN", 36), ("JP", 47), ("BR", 27)] {
        assert_eq!(geo.list(country(code)).unwrap().subdivisions.len(), count, "{code}");
    }
}

#[test]
fn the_body_is_the_published_shape_sorted_by_name() {
    let geo = Subdivisions::load().unwrap();
    let body = serde_json::to_string(geo.list(country("us")).unwrap()).unwrap();
    assert!(
        body.starts_with(r#"{"country":"US","subdivisions":[{"code":"AL","name":"Alabama"},{"code":"AK","name":"Alaska"},{"code":"AS","#),
        "{body}"
    );
    assert_eq!(names(&geo, "US").last(), Some(&"Wyoming"));
}

#[test]
fn accented_names_stand_where_a_reader_looks() {
    let geo = Subdivisions::load().unwrap();
    let turkey = names(&geo, "TR");
    let place = |name: &str| turkey.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(place("Çorum") < place("Denizli"));
    assert!(place("Iğdır") < place("İstanbul") && place("İstanbul") < place("İzmir"));
    assert_eq!(names(&geo, "AE").first(), Some(&"Abū Z̧aby"));
    assert!(geo.iter().all(|c| c.subdivisions.is_sorted_by_key(|s| (sort_key(s.name), s.name, s.code))));
}

#[test]
fn every_letter_in_the_table_has_an_ascii_place() {
    for subdivision in Subdivisions::load().unwrap().iter().flat_map(|c| c.subdivisions.clone()) {
        let key = sort_key(subdivision.name);
        assert!(key.is_ascii() && !key.trim().is_empty(), "{} sorts as {key:?}", subdivision.name);
    }
}

#[test]
fn a_country_without_subdivisions_differs_from_no_country() {
    let geo = Subdivisions::load().unwrap();
    assert_eq!(geo.list(country("AX")).unwrap().subdivisions, []);
    assert_eq!(serde_json::to_string(geo.list(country("hk")).unwrap()).unwrap(), r#"{"country":"HK","subdivisions":[]}"#);
    for code in ["UK", "XK", "EU", "ZZ"] {
        assert_eq!(geo.list(country(code)), Err(UnknownCountry { country: country(code) }));
    }
}

#[test]
fn malformed_codes_are_another_error() {
    for text in ["", "U", "USA", "U1", " US", "US ", "ÜS", "é", "U\0"] {
        assert_eq!(CountryCode::parse(text), Err(MalformedCountry), "{text:?}");
    }
    assert_eq!(CountryCode::parse("gB").unwrap().as_str(), "GB");
}

#[test]
fn a_subdivision_is_found_in_any_case() {
    let geo = Subdivisions::load().unwrap();
    assert_eq!(geo.list(country("US")).unwrap().find("ca").unwrap().name, "California");
    assert_eq!(geo.list(country("US")).unwrap().find("US-CA"), None);
    assert_eq!(geo.list(country("US")).unwrap().find(""), None);
}

#[test]
fn damaged_tables_say_where() {
    let error = |countries, subdivisions| Subdivisions::parse(countries, subdivisions).unwrap_err().to_string();
    assert_eq!(error("code\tname\nUSA\tx\n", ""), "countries.tsv line 2: country must be a two-letter ISO 3166-1 code, such as GB");
    assert_eq!(error("h\nUS\ta\nUS\tb", ""), "countries.tsv line 3: the country is there twice");
    assert_eq!(error("h\nUS", ""), "countries.tsv line 2: needs 2 columns: code, name");
    assert_eq!(error("h\nUS\t", ""), "countries.tsv line 2: the name is empty");
    let us = "h\nUS\tUnited States";
    assert_eq!(error(us, "h\nUS\tCA\tCalifornia"), "subdivisions.tsv line 2: needs 5 columns: country, code, name, type, parent");
    assert_eq!(error(us, "h\nGB\tENG\tEngland\t\t"), "subdivisions.tsv line 2: the country is not in countries.tsv");
    assert_eq!(error(us, "h\nUS\tca\tCalifornia\t\t"), "subdivisions.tsv line 2: the code is not 1 to 3 of A-Z and 0-9");
    assert_eq!(error(us, "h\nUS\tCA\t \t\t"), "subdivisions.tsv line 2: the name is empty or has white space around it");
    assert_eq!(error(us, "h\nUS\tCA\tA\t\t\nUS\tCA\tB\t\t"), "subdivisions.tsv line 3: the code is there twice");
}
