//! The page around what it shows: title, style, and the script that tells values under the pointer.

use crate::style;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A whole page with this title and content.
pub fn page(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style::STYLE)) }
            }
            body {
                main { (content) }
                script { (PreEscaped(style::SCRIPT)) }
            }
        }
    };
    page.into_string()
}
