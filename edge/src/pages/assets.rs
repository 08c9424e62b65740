//! The stylesheet and the script of all pages, compiled in. Their addresses name their content, so that browsers keep them for ever and
//! never have an old one.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::error::{ApiError, Code};
use crate::service::Call;

/// Something that pages need and browsers fetch on its own.
#[derive(Debug)]
pub struct Asset {
    /// Its address.
    pub path: String,
    body: Bytes,
    content_type: &'static str,
}

/// How every page looks.
pub static STYLES: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("pages", "css", "text/css; charset=utf-8", include_str!("../../assets/pages.css")));
/// How the portal looks, on top of that.
pub static PORTAL_STYLES: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("portal", "css", "text/css; charset=utf-8", include_str!("../../assets/portal.css")));
/// How the developer portal looks, on top of both.
pub static DEVELOPERS_STYLES: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("developers", "css", "text/css; charset=utf-8", include_str!("../../assets/developers.css")));
/// What makes the developer portal's pages answer: keys filled in, endpoints tried, signatures made.
pub static DEVELOPERS_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("developers", "js", "text/javascript; charset=utf-8", include_str!("../../assets/developers.js")));
/// What makes pages more comfortable; all but card payments work without it.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("pages", "js", "text/javascript; charset=utf-8", include_str!("../../assets/pages.js")));
/// What sends files of license keys piece by piece.
pub static IMPORT_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("import", "js", "text/javascript; charset=utf-8", include_str!("../../assets/import.js")));
/// The little picture in the browser's tab.
pub static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("../../assets/icon.svg")));

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, body: &'static str) -> Self {
        let digest = Sha256::digest(body);
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { path: format!("/assets/{name}.{hex}.{extension}"), body: Bytes::from_static(body.as_bytes()), content_type }
    }
}

/// `GET /assets/{name}`
pub fn get(call: &Call<'_>) -> Result<Answer, ApiError> {
    let assets: [&Asset; 7] = [&STYLES, &PORTAL_STYLES, &DEVELOPERS_STYLES, &SCRIPT, &DEVELOPERS_SCRIPT, &IMPORT_SCRIPT, &ICON];
    let wanted = |asset: &&&Asset| asset.path.strip_prefix("/assets/") == Some(call.params.id);
    let asset = assets.iter().find(wanted).ok_or_else(|| ApiError::plain(Code::NotFound))?;
    Ok(Answer::new(StatusCode::OK, asset.body.clone())
        .with(CONTENT_TYPE, HeaderValue::from_static(asset.content_type))
        .with(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"))
        .with(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")))
}
