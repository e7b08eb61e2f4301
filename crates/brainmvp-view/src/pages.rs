//! The pages: files of this crate's folder `pages`, part of the program.

use std::borrow::Cow;

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

const FRAME: &str = "frame.html";

/// The first page.
pub(crate) async fn first(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

/// A page, module or style, by its name.
pub(crate) async fn named(Path(name): Path<String>, headers: HeaderMap) -> Response {
    page(&name, &headers)
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    let Some((data, media)) = content(name).zip(media_type(name)) else {
        return (StatusCode::NOT_FOUND, "there is no such page\n").into_response();
    };
    let tag = format!("\"{}\"", &blake3::hash(&data).to_hex()[..32]);
    let kept = [(ETAG, tag.clone()), (CACHE_CONTROL, "private, no-cache".to_owned())];
    if headers.get(IF_NONE_MATCH).is_some_and(|asked| matches(asked, &tag)) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, media)], Body::from(data.into_owned())).into_response()
}

/// The bytes of a file. A page is what it has of its own, up to `<main` for the head, in the frame of all pages.
fn content(name: &str) -> Option<Cow<'static, [u8]>> {
    let file = Pages::get(name).filter(|_| name != FRAME)?.data;
    if name.rsplit_once('.').is_none_or(|(_, ending)| ending != "html") {
        return Some(file);
    }
    let (own, frame) = (String::from_utf8_lossy(&file), Pages::get(FRAME)?.data);
    let (head, main) = own.split_at(own.find("<main")?);
    let page = String::from_utf8_lossy(&frame).replace("<!--head-->", head.trim_end());
    Some(page.replace("<!--main-->", main.trim_end()).into_bytes().into())
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
