//! The OpenAPI document as people read it. It is compiled in and read once; what is wrong with it is found by its own tests.

use std::sync::LazyLock;

use pulldown_cmark::{Options, Parser, html};
use serde_json::Value;

use crate::api::openapi;

/// How deep the members of a body are shown.
const DEPTH_MAX: usize = 2;
const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

/// The document.
pub static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::of(&openapi::value()));

/// What pages show of the document. Everything called `html` is safe to show as it is: it is made of our own text.
#[derive(Debug)]
pub struct Document {
    /// Chapters of its introduction: title, html.
    chapters: Vec<(String, String)>,
    /// The endpoints, by tag.
    pub groups: Vec<Group>,
    /// What endpoints of partners' get.
    pub event: Operation,
}

/// Endpoints that belong together.
#[derive(Debug)]
pub struct Group {
    /// Their name.
    pub name: String,
    /// What they are for.
    pub description: String,
    /// The endpoints.
    pub operations: Vec<Operation>,
}

/// An endpoint.
#[derive(Debug)]
pub struct Operation {
    /// Its name in the document, and the page's anchor.
    pub id: String,
    /// As in HTTP.
    pub method: String,
    /// With names in braces.
    pub path: String,
    /// What it does.
    pub summary: String,
    /// More of it.
    pub html: String,
    /// Whether it needs a key.
    pub needs_key: bool,
    /// In path, query and headers.
    pub parameters: Vec<Parameter>,
    /// The members of the body.
    pub fields: Vec<Field>,
    /// A body, as JSON; empty where there is none.
    pub example: String,
    /// By status.
    pub answers: Vec<Reply>,
}

/// A parameter.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// path, query or header
    pub place: String,
    /// Whether it must be there.
    pub is_required: bool,
    /// What it is.
    pub html: String,
    /// A value.
    pub example: String,
}

/// A member of a body.
#[derive(Debug)]
pub struct Field {
    /// Its path, as `items[].sku`.
    pub name: String,
    /// Its JSON type.
    pub kind: String,
    /// Whether it must be there.
    pub is_required: bool,
    /// What it is.
    pub html: String,
}

/// What an endpoint answers.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: String,
    /// When.
    pub html: String,
    /// A body, as JSON; empty where there is none.
    pub example: String,
}

impl Reply {
    /// Whether it did what was asked.
    pub fn is_success(&self) -> bool {
        self.status.starts_with('2')
    }
}

impl Document {
    fn of(document: &Value) -> Self {
        let introduction = text(&document["info"], "description");
        let chapters = introduction.split("\n## ").skip(1).filter_map(|chapter| chapter.split_once('\n'));
        let chapters = chapters.map(|(title, body)| (title.trim().to_owned(), markdown(body))).collect();
        let groups = list(&document["tags"]).map(|tag| Group {
            name: text(tag, "name").to_owned(),
            description: text(tag, "description").to_owned(),
            operations: operations(document).filter(|(.., operation)| operation["tags"][0] == tag["name"]).map(read(document)).collect(),
        });
        let event = ("post", "", resolved(document, &document["webhooks"]["event"]["post"]));
        Self { chapters, groups: groups.collect(), event: read(document)(event) }
    }

    /// A chapter of the introduction, as html.
    pub fn chapter(&self, title: &str) -> &str {
        self.chapters.iter().find(|(known, _)| known == title).map_or("", |(_, html)| html)
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| METHODS.iter().filter_map(move |method| Some((*method, path.as_str(), item.get(*method)?))))
}

fn read<'d>(document: &'d Value) -> impl Fn((&'d str, &'d str, &'d Value)) -> Operation {
    move |(method, path, operation)| {
        let body = &operation["requestBody"]["content"]["application/json"];
        let mut fields = Vec::new();
        members(document, resolved(document, &body["schema"]), "", 0, &mut fields);
        let answers = operation["responses"].as_object().into_iter().flatten();
        Operation {
            id: text(operation, "operationId").to_owned(),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(operation, "summary").to_owned(),
            html: markdown(text(operation, "description")),
            needs_key: operation["security"].as_array().is_some_and(|needed| !needed.is_empty()),
            parameters: list(&operation["parameters"]).map(|parameter| of_parameter(resolved(document, parameter))).collect(),
            fields,
            example: example(body),
            answers: answers.map(|(status, answer)| reply(status, resolved(document, answer))).collect(),
        }
    }
}

fn of_parameter(parameter: &Value) -> Parameter {
    let example = &parameter["example"];
    Parameter {
        name: text(parameter, "name").to_owned(),
        place: text(parameter, "in").to_owned(),
        is_required: parameter["required"] == true,
        html: markdown(text(parameter, "description")),
        example: example.as_str().map_or_else(|| if example.is_null() { String::new() } else { example.to_string() }, str::to_owned),
    }
}

fn reply(status: &str, answer: &Value) -> Reply {
    let contents = answer["content"].as_object().into_iter().flatten();
    let example = contents.map(|(_, content)| example(content)).find(|example| !example.is_empty()).unwrap_or_default();
    Reply { status: status.to_owned(), html: markdown(text(answer, "description")), example }
}

/// The example of some content, or the shortest of its examples.
fn example(content: &Value) -> String {
    let several = content["examples"].as_object().into_iter().flatten().filter_map(|(_, example)| example.get("value"));
    let shown = content.get("example").into_iter().chain(several).map(|example| format!("{example:#}"));
    shown.min_by_key(String::len).unwrap_or_default()
}

/// The members of an object, those of its objects behind them.
fn members(document: &Value, schema: &Value, before: &str, depth: usize, fields: &mut Vec<Field>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (member_name, member) in properties {
        let member = resolved(document, member);
        let name = format!("{before}{member_name}");
        fields.push(Field {
            is_required: list(&schema["required"]).any(|required| required == member_name),
            kind: kind(document, member),
            html: markdown(text(member, "description")),
            name: name.clone(),
        });
        if depth + 1 < DEPTH_MAX {
            members(document, member, &format!("{name}."), depth + 1, fields);
            members(document, resolved(document, &member["items"]), &format!("{name}[]."), depth + 1, fields);
        }
    }
}

/// A JSON type in words.
fn kind(document: &Value, schema: &Value) -> String {
    let either = |schemas: &Value| list(schemas).map(|schema| kind(document, resolved(document, schema))).collect::<Vec<_>>().join(" or ");
    match &schema["type"] {
        Value::String(one) if one == "array" => format!("array of {}", kind(document, resolved(document, &schema["items"]))),
        Value::String(one) => one.clone(),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ if schema["anyOf"].is_array() => either(&schema["anyOf"]),
        _ if schema["oneOf"].is_array() => either(&schema["oneOf"]),
        _ => String::new(),
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str().and_then(|place| document.pointer(place.strip_prefix('#')?)) {
        Some(meant) => resolved(document, meant),
        None => value,
    }
}

fn markdown(source: &str) -> String {
    let mut html = String::new();
    html::push_html(&mut html, Parser::new_ext(source, Options::empty()));
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::developers::snippets;

    fn operation(id: &str) -> &'static Operation {
        DOCUMENT.groups.iter().flat_map(|group| &group.operations).find(|operation| operation.id == id).expect("it is in the document")
    }

    #[test]
    fn every_endpoint_of_the_document_is_shown_once() {
        let document = openapi::value();
        let mut shown: Vec<&str> = DOCUMENT.groups.iter().flat_map(|group| &group.operations).map(|shown| shown.id.as_str()).collect();
        let mut known: Vec<String> = operations(&document).map(|(.., operation)| text(operation, "operationId").to_owned()).collect();
        shown.sort_unstable();
        known.sort_unstable();
        assert_eq!(shown, known);
    }

    #[test]
    fn an_endpoint_is_read_with_all_that_it_refers_to() {
        let session = operation("createCheckoutSession");
        assert_eq!((session.method.as_str(), session.needs_key), ("POST", true));
        assert!(session.html.contains("<code>checkout</code>"), "{}", session.html);
        assert_eq!(session.parameters[0].name, "slug");
        let field = |name: &str| session.fields.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(field("cart").is_required && field("currency").is_required && !field("locale").is_required);
        assert_eq!(field("expires_in").kind, "integer or null");
        assert!(!field("metadata.external_reference").is_required);
        assert!(session.example.contains("WIN-11-PRO"));
        assert!(session.answers.iter().any(|answer| answer.status == "201" && answer.example.contains("checkout_url")));
        let items = &operation("fulfillOrder").fields;
        assert!(items.iter().any(|field| field.name == "items[].sku" && field.is_required));
        assert!(!operation("listSubdivisions").needs_key);
    }

    #[test]
    fn the_chapters_that_pages_show_are_there() {
        for title in ["Conventions", "Keys", "Errors", "Rate limits"] {
            assert!(DOCUMENT.chapter(title).len() > 100, "{title}");
        }
        // Read by people, it has its members in the order in which they are sent.
        let shown: Value = serde_json::from_str(snippets::EVENT_JSON).expect("it is JSON");
        assert_eq!(format!("{shown:#}"), DOCUMENT.event.example);
    }
}
