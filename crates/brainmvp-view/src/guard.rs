//! Who is answered, and what the answers allow a page to do.

use axum::extract::Request;
use axum::http::header::{
    ALLOW, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// What a page may load: its own modules, styles and data. NiiVue draws its letters from a picture in a `data:` address,
/// fetches that picture's description the same way, and unpacks with WebAssembly.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // The address contains the token.
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Refuses what does not come from a page of this server or a person who typed its address, before anything is looked up.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.method(), request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<Response> {
    if method != Method::GET && method != Method::HEAD {
        let allowed = [(ALLOW, "GET, HEAD")];
        return Some(
            (StatusCode::METHOD_NOT_ALLOWED, allowed, "only GET and HEAD are answered\n").into_response(),
        );
    }
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    // A name that somebody else's server resolves to 127.0.0.1 is not this computer's. The port may be another one: it is
    // where a tunnel begins.
    let Some(host) = text(&HOST).filter(|host| is_this_computer(host)) else {
        let reason = "the address must begin with http://127.0.0.1 or http://localhost\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, reason).into_response());
    };
    if text(&ORIGIN).is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Some((StatusCode::FORBIDDEN, "asked for by a page of another origin\n").into_response());
    }
    None
}

fn is_this_computer(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    ["127.0.0.1", "localhost", "[::1]"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["127.0.0.1:8000", "localhost:1", "localhost", "[::1]:80"] {
            assert!(is_this_computer(good), "{good}");
        }
        for bad in
            ["", "example.org", "127.0.0.1.example.org:80", "localhost:x", "10.0.0.1:80", "127.0.0.1:80:80"]
        {
            assert!(!is_this_computer(bad), "{bad}");
        }
    }
}
