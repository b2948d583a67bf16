//! Renders Markdown as HTML that is safe to show.

mod render;

use micro_sdk::types::Error;
use pulldown_cmark::Options;

micro_sdk::wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:markdown/markdown",
    runtime_path: "micro_sdk::wit_bindgen::rt",
    with: { "micro:function/types@0.1.0": micro_sdk::types },
});

struct Markdown;

impl exports::demo::markdown::render::Guest for Markdown {
    fn html(
        text: Vec<u8>,
        tables: Option<bool>,
        strikethrough: Option<bool>,
        task_lists: Option<bool>,
        allow_html: Option<bool>,
    ) -> Result<Vec<u8>, Error> {
        let text = str::from_utf8(&text)
            .map_err(|error| Error::bad_request(format!("the text is not UTF-8 at byte {}", error.valid_up_to())))?;
        let mut options = Options::empty();
        options.set(Options::ENABLE_TABLES, tables.unwrap_or(true));
        options.set(Options::ENABLE_STRIKETHROUGH, strikethrough.unwrap_or(true));
        options.set(Options::ENABLE_TASKLISTS, task_lists.unwrap_or(true));
        Ok(render::html(text, options, allow_html.unwrap_or(false)).into_bytes())
    }
}

export!(Markdown);

#[cfg(test)]
mod tests;
