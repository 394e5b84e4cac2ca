//! The page's files, which are part of the program.

/// A file: its path, its type, and what it contains.
pub(crate) type Asset = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The document itself is the first one.
pub(crate) const ASSETS: [Asset; 6] = [
    ("/", "text/html; charset=utf-8", include_str!("../assets/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../assets/page.css")),
    ("/page.svg", "image/svg+xml", include_str!("../assets/page.svg")),
    ("/page.js", SCRIPT, include_str!("../assets/page.js")),
    ("/draw.js", SCRIPT, include_str!("../assets/draw.js")),
    ("/views.js", SCRIPT, include_str!("../assets/views.js")),
];
