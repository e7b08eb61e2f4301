//! The pages: files of this crate's folder `pages`, part of the program.

use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use rust_embed::RustEmbed;

use crate::deliver::matches;

#[derive(RustEmbed)]
#[folder = "pages"]
struct Pages;

/// The first page.
pub(crate) async fn first(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

/// A page, module or style, by its name.
pub(crate) async fn named(Path(name): Path<String>, headers: HeaderMap) -> Response {
    page(&name, &headers)
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    let Some((file, media)) = Pages::get(name).zip(media_type(name)) else {
        return (StatusCode::NOT_FOUND, "there is no such page\n").into_response();
    };
    let hash = blake3::Hash::from_bytes(file.metadata.sha256_hash()).to_hex();
    let tag = format!("\"{}\"", &hash.as_str()[..32]);
    let kept = [(ETAG, tag.clone()), (CACHE_CONTROL, "private, no-cache".to_owned())];
    if headers.get(IF_NONE_MATCH).is_some_and(|asked| matches(asked, &tag)) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, media)], Body::from(file.data.into_owned())).into_response()
}

/// By the ending; a file with another one is no page.
fn media_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}
