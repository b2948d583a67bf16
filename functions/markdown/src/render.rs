//! From Markdown to HTML, and what is taken out on the way.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

/// What a link of untrusted text may start with; links without a scheme stay on the same site.
const SAFE_SCHEMES: [&str; 4] = ["http", "https", "mailto", "tel"];

/// Renders `text`; unless `allow_html`, with HTML shown as text and without unsafe links.
pub fn html(text: &str, options: Options, allow_html: bool) -> String {
    let events = Parser::new_ext(text, options);
    // HTML is mostly as long as its text and half as much again.
    let mut html = String::with_capacity(text.len() + text.len() / 2);
    if allow_html {
        pulldown_cmark::html::push_html(&mut html, events);
    } else {
        pulldown_cmark::html::push_html(&mut html, events.map(harmless));
    }
    html
}

/// The event with anything replaced that would let the text's author run a script in the reader's page.
fn harmless(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(code) | Event::InlineHtml(code) => Event::Text(code),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Link { link_type, dest_url: safe_or_empty(dest_url), title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Image { link_type, dest_url: safe_or_empty(dest_url), title, id })
        }
        other => other,
    }
}

fn safe_or_empty(url: CowStr<'_>) -> CowStr<'_> {
    if is_safe(&url) { url } else { CowStr::Borrowed("") }
}

/// Whether the address has no scheme or one of the safe ones.
///
/// Browsers leave out control characters and spaces before they look for the scheme, so that
/// `java\nscript:` is a script to them; this does the same.
fn is_safe(url: &str) -> bool {
    let seen: String = url.chars().filter(|letter| !letter.is_control() && *letter != ' ').collect();
    match seen.find([':', '/', '?', '#']) {
        Some(end) if seen[end..].starts_with(':') => {
            SAFE_SCHEMES.iter().any(|scheme| seen[..end].eq_ignore_ascii_case(scheme))
        }
        _ => true,
    }
}
