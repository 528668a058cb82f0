//! The style sheet and the scripts, each by an address that changes with its content. I/O.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use schema::canonical::Digest;

/// One file.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    digest: String,
}

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All of them.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let all = [
        ("style.css", STYLE, include_str!("assets/style.css")),
        ("main.js", SCRIPT, include_str!("assets/main.js")),
        ("live.js", SCRIPT, include_str!("assets/live.js")),
        ("apply.js", SCRIPT, include_str!("assets/apply.js")),
        ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ];
    let asset = |(name, kind, content): (_, _, &'static str)| {
        let digest = Digest::of(content.as_bytes()).short();
        Asset { name, kind, content, digest }
    };
    all.into_iter().map(asset).collect()
});

/// The address of a file.
pub(super) fn address(name: &str) -> String {
    let digest = ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| &asset.digest);
    format!("/ui/assets/{digest}-{name}")
}

/// What a browser asks for by itself.
pub(super) async fn icon() -> Response {
    let found = ASSETS.iter().find(|asset| asset.name == "icon.svg");
    found.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |asset| ([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, "public, max-age=86400")], asset.content).into_response(),
    )
}

/// Serves a file. One by the address of another version is not this file.
pub(super) async fn asset(Path(wanted): Path<String>) -> Response {
    let is_it = |asset: &&Asset| {
        let rest = wanted.strip_prefix(&asset.digest).and_then(|rest| rest.strip_prefix('-'));
        rest == Some(asset.name)
    };
    match ASSETS.iter().find(is_it) {
        Some(asset) => {
            let forever = "public, max-age=31536000, immutable";
            ([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, forever)], asset.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
