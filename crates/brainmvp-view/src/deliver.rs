//! Sends files and volumes: in part, or not at all where the browser has them.

use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::items::Item;
use crate::voxels;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 1 << 18;
/// How much of what was made in memory is kept, so that a second part of it is not made again.
const KEPT_BYTES: usize = 512 << 20;

/// Volumes made in memory, the latest last, with their tags.
#[derive(Debug, Default)]
pub(crate) struct Made(Mutex<Vec<(String, Bytes)>>);

impl Made {
    fn get(&self, tag: &str) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(of, _)| of == tag).map(|(_, bytes)| bytes.clone())
    }

    fn keep(&self, tag: &str, bytes: &Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _)| of != tag);
        kept.push((tag.to_owned(), bytes.clone()));
        while kept.len() > 1 && kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > KEPT_BYTES {
            kept.remove(0);
        }
    }
}

/// Where the bytes of an item are.
enum Source {
    File { path: std::path::PathBuf, start: u64, length: u64, media: &'static str },
    Made,
}

/// Sends an item.
pub(crate) async fn item(item: Item, asked: &HeaderMap, made: &Arc<Made>) -> Response {
    let Some((source, tag)) = locate(&item) else {
        return (StatusCode::NOT_FOUND, "the file is not there any more\n").into_response();
    };
    if asked.get(IF_NONE_MATCH).is_some_and(|asked| matches(asked, &tag)) {
        return with_tag(StatusCode::NOT_MODIFIED.into_response(), &tag);
    }
    match source {
        Source::File { path, start, length, media } => {
            let parts = parts(asked, &tag, length);
            let body = async |range: Range<u64>| {
                let mut file = tokio::fs::File::open(&path).await?;
                file.seek(SeekFrom::Start(start + range.start)).await?;
                let part = file.take(range.end - range.start);
                Ok::<_, std::io::Error>(Body::from_stream(ReaderStream::with_capacity(part, CHUNK_BYTES)))
            };
            answer(parts, length, media, &tag, body).await
        }
        Source::Made => {
            let bytes = match made.get(&tag) {
                Some(bytes) => bytes,
                None => match make(item).await {
                    Ok(bytes) => bytes,
                    Err(reason) => return (StatusCode::UNPROCESSABLE_ENTITY, reason + "\n").into_response(),
                },
            };
            made.keep(&tag, &bytes);
            let length = bytes.len() as u64;
            let body = async |range: Range<u64>| {
                Ok(Body::from(bytes.slice(range.start as usize..range.end as usize)))
            };
            answer(parts(asked, &tag, length), length, "application/octet-stream", &tag, body).await
        }
    }
}

async fn make(item: Item) -> Result<Bytes, String> {
    let made = tokio::task::spawn_blocking(move || voxels::nifti(&item)).await;
    match made {
        Ok(Ok(bytes)) => Ok(Bytes::from(bytes)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("the volume could not be read: {error}")),
    }
}

/// Where an item is, and its tag: another one whenever its files change.
fn locate(item: &Item) -> Option<(Source, String)> {
    let media = |path: &Path| {
        let name = path.to_string_lossy().to_ascii_lowercase();
        let known =
            [(".nii.gz", "application/gzip"), (".nii", "application/octet-stream"), (".png", "image/png")];
        let known = known.into_iter().chain([(".svg", "image/svg+xml")]);
        known.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, media)| media)
    };
    let whole = |path: &Path| {
        let (tag, length) = state(path)?;
        let source = media(path).map_or(Source::Made, |media| Source::File {
            path: path.to_owned(),
            start: 0,
            length,
            media,
        });
        Some((source, tag))
    };
    let (source, state) = match item {
        Item::Listed(path) => whole(path)?,
        Item::Inside(inside) => whole(&inside.path()?)?,
        Item::Prepared { cache, case, .. } => {
            (Source::Made, state(&cache.join(format!("{case}.safetensors")))?.0)
        }
        Item::Difference { truth, prediction } => {
            let [(_, truth), (_, prediction)] = [locate(truth)?, locate(prediction)?];
            (Source::Made, truth + &prediction)
        }
        Item::Logged { file, offset, length } => {
            let path = file.path()?;
            let state = state(&path)?;
            // An event file grows; what is written stays.
            if state.1 < offset.checked_add(*length)? {
                return None;
            }
            (Source::File { path, start: *offset, length: *length, media: "image/png" }, String::new())
        }
    };
    let hash = blake3::hash(format!("{item:?} {state}").as_bytes()).to_hex();
    Some((source, format!("\"{}\"", &hash.as_str()[..32])))
}

/// What tells versions of a file apart, and its length.
fn state(path: &Path) -> Option<(String, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some((format!("{} {}", metadata.len(), changed.as_nanos()), metadata.len()))
}

/// Whether a list of tags, or `*`, names this one.
pub(crate) fn matches(asked: &HeaderValue, tag: &str) -> bool {
    let asked = asked.to_str().unwrap_or_default();
    asked.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == tag)
}

fn with_tag(mut response: Response, tag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Which part was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Parts {
    Whole,
    One(Range<u64>),
    /// One that is not there.
    Outside,
}

fn parts(asked: &HeaderMap, tag: &str, length: u64) -> Parts {
    let same = asked.get(IF_RANGE).is_none_or(|known| known.as_bytes() == tag.as_bytes());
    let text = asked.get(RANGE).filter(|_| same).and_then(|range| range.to_str().ok());
    text.map_or(Parts::Whole, |text| range(text, length))
}

/// `bytes=0-99`, `bytes=100-`, `bytes=-100`. Anything else, and several ranges, count as not asked, as the standard allows.
fn range(text: &str, length: u64) -> Parts {
    let bounds = text.strip_prefix("bytes=").and_then(|bounds| bounds.split_once('-'));
    let Some((first, last)) = bounds else { return Parts::Whole };
    let number = |text: &str| text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let range = match (first, last) {
        ("", last) => number(last).map(|count| length.saturating_sub(count)..length),
        (first, "") => number(first).map(|first| first..length),
        (first, last) => number(first)
            .zip(number(last))
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| first..last.saturating_add(1).min(length)),
    };
    match range {
        None => Parts::Whole,
        Some(range) if range.start < range.end => Parts::One(range),
        Some(_) => Parts::Outside,
    }
}

async fn answer(
    parts: Parts,
    length: u64,
    media: &'static str,
    tag: &str,
    body: impl AsyncFnOnce(Range<u64>) -> std::io::Result<Body>,
) -> Response {
    let (status, range, place) = match parts {
        Parts::Whole => (StatusCode::OK, 0..length, None),
        Parts::One(range) => {
            let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            (StatusCode::PARTIAL_CONTENT, range, Some(place))
        }
        Parts::Outside => {
            let place = [(CONTENT_RANGE, format!("bytes */{length}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, place).into_response();
        }
    };
    let size = range.end - range.start;
    let Ok(body) = body(range).await else {
        return (StatusCode::NOT_FOUND, "the file cannot be read\n").into_response();
    };
    let kept = [(CONTENT_TYPE, media.to_owned()), (CONTENT_LENGTH, size.to_string())];
    let mut response = (status, kept, [(ACCEPT_RANGES, "bytes")], body).into_response();
    if let Some(place) = place.and_then(|place| HeaderValue::from_str(&place).ok()) {
        response.headers_mut().insert(CONTENT_RANGE, place);
    }
    with_tag(response, tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-0", Parts::One(0..1)),
            ("bytes=2-", Parts::One(2..10)),
            ("bytes=-3", Parts::One(7..10)),
            ("bytes=-30", Parts::One(0..10)),
            ("bytes=8-99", Parts::One(8..10)),
            ("bytes=10-", Parts::Outside),
            ("bytes=-0", Parts::Outside),
            ("bytes=3-2", Parts::Whole),
            ("bytes=0-1,4-5", Parts::Whole),
            ("bytes=--1", Parts::Whole),
            ("bytes=+1-2", Parts::Whole),
            ("lines=1-2", Parts::Whole),
            ("bytes=18446744073709551615-", Parts::Outside),
            ("bytes=0-18446744073709551615", Parts::One(0..10)),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Parts::Outside);
    }
}
