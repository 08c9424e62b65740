//! License keys into a product's stock: pasted, or a file that the page's script sends piece by piece, so that a body is never larger than
//! any other. How a key is taken in is `storage::stock`'s, as on the command line.

use std::io::Read as _;

use common::mode::Mode;
use http::StatusCode;
use http::header::ACCEPT;
use serde::Serialize;
use storage::pg::products::Source;
use storage::stock::key_file::KeyFile;
use storage::stock::{Chunk, Importer, Report};

use super::Visitor;
use super::frame::Note;
use super::product::{self, Done};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;

/// Lines of one piece, which one transaction takes in: more than fit into a body unless they are shorter than any key.
const LINES_MAX: usize = 5_000;
/// The largest number that a line can have: of a file of a terabyte.
const LINE_MAX: u64 = 1_000_000_000_000;

/// What is wrong with a piece as a whole.
#[derive(Serialize)]
struct Wrong<'w> {
    error: &'w str,
}

/// `POST /portal/stores/{slug}/products/{product_id}/import/`. A script asks for JSON, and says at which line of its file a piece begins and
/// which header the file has.
pub async fn import(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let (product, _) = product::named(edge, visitor, call).await?;
    let bad = || PageError::new(PageProblem::BadRequest);
    let form = &visitor.form;
    let mode: Mode = form.get("mode").parse().map_err(|_| bad())?;
    let line = if form.get("line").is_empty() { 1 } else { form.get("line").parse().map_err(|_| bad())? };
    if product.source != Source::Pool || !(1..=LINE_MAX).contains(&line) {
        return Err(bad());
    }
    let is_script = call.headers.get(ACCEPT).is_some_and(|accepted| accepted == "application/json");
    let chunk = match read(form.get("header"), form.text("keys"), line) {
        Ok(Some(chunk)) => chunk,
        Ok(None) => return wrong(edge, visitor, call, is_script, "There is no license key in it.").await,
        Err(text) => return wrong(edge, visitor, call, is_script, &text).await,
    };
    let portal = &edge.portal;
    let importer =
        Importer { pg: &portal.pg, product: &product, mode, actor: visitor.actor(), digester: &portal.digester, sealer: &edge.licenses };
    let mut report = Report::default();
    in_time_of(&portal.pg, async { Ok::<_, PageError>(importer.take_in(chunk, &mut report).await?) }).await?;
    if is_script {
        return Ok(Answer::json(StatusCode::OK, &report));
    }
    product::show(edge, visitor, call, Done { report: Some(report), ..Done::default() }).await
}

async fn wrong(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, is_script: bool, text: &str) -> Result<Answer, PageError> {
    if is_script {
        return Ok(Answer::json(StatusCode::BAD_REQUEST, &Wrong { error: text }));
    }
    let note = Some(Note { tone: "wrong", text: format!("{text} Nothing was taken in.") });
    product::show(edge, visitor, call, Done { note, ..Done::default() }).await
}

/// A piece that begins at `line` of its file, whose header line is `header` where it has one and this piece has not.
fn read(header: &str, keys: &str, line: u64) -> Result<Option<Chunk>, String> {
    if header.contains(['\n', '\r']) {
        return Err("The header has to be one line.".to_owned());
    }
    let head = if header.is_empty() { String::new() } else { format!("{header}\n") };
    let before = line - 1;
    let skipped = u64::from(!head.is_empty());
    let at = |of_piece: u64| (of_piece + before).saturating_sub(skipped).max(1);
    let mut entries = KeyFile::new(std::io::BufReader::new(head.as_bytes().chain(keys.as_bytes())));
    let chunk = Chunk::read(&mut entries, LINES_MAX).map_err(|error| format!("{}.", error.at(&at)))?;
    match Chunk::read(&mut entries, 1) {
        Ok(None) => Ok(chunk.map(|chunk| chunk.with_lines(&at))),
        _ => Err(format!("There are more than {LINES_MAX} lines in it: import them in parts.")),
    }
}

#[cfg(test)]
mod tests {
    use storage::stock::key_file::FileError;

    use super::*;

    #[test]
    fn a_piece_knows_its_lines_in_the_file() {
        let invalid = |header: &str, keys: &str, line| read(header, keys, line).unwrap().unwrap().invalid_lines().collect::<Vec<_>>();
        assert_eq!(invalid("", "AAA\nB,B\nCCC", 1), [2]);
        assert_eq!(invalid("", "AAA\nB,B\nCCC", 101), [102]);
        assert_eq!(invalid("id,key", "1,AAA\n2,\n", 101), [102]);
        assert_eq!(invalid("", "id,key\n1,AAA\n2,\n", 1), [3]);
        assert!(read("", "  \n", 1).unwrap().is_none());
        assert!(read("key\nAAA", "BBB", 1).is_err());
        assert!(read("key", "A\n\"B", 11).err().unwrap().starts_with("line 12: a quoted"));
        assert!(read("", &"A\n".repeat(LINES_MAX), 1).is_ok());
        assert!(read("", &"A\n".repeat(LINES_MAX + 1), 1).is_err());
    }

    #[test]
    fn errors_name_the_files_line() {
        assert_eq!(FileError::OpenQuote { line: 3 }.at(&|line| line + 100).to_string(), FileError::OpenQuote { line: 103 }.to_string());
    }
}
