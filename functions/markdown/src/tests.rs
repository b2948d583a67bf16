use super::{Error, Markdown};
use crate::exports::demo::markdown::render::Guest;

fn html(text: &str) -> String {
    render(text, None, None, None, None)
}

fn render(
    text: &str,
    tables: Option<bool>,
    strikethrough: Option<bool>,
    task_lists: Option<bool>,
    allow_html: Option<bool>,
) -> String {
    let reply = Markdown::html(text.as_bytes().to_vec(), tables, strikethrough, task_lists, allow_html);
    String::from_utf8(reply.unwrap()).unwrap()
}

#[test]
fn renders_commonmark() {
    assert_eq!(
        html("# Hello\n\n*John* & [home](https://example.com)\n"),
        "<h1>Hello</h1>\n<p><em>John</em> &amp; <a href=\"https://example.com\">home</a></p>\n"
    );
}

#[test]
fn an_empty_text_is_an_empty_page() {
    assert_eq!(html(""), "");
}

#[test]
fn tables_are_on_until_turned_off() {
    let table = "| a |\n|---|\n| b |\n";
    assert!(html(table).contains("<table>"));
    assert!(!render(table, Some(false), None, None, None).contains("<table>"));
}

#[test]
fn strikethrough_is_on_until_turned_off() {
    assert_eq!(html("~~gone~~"), "<p><del>gone</del></p>\n");
    assert_eq!(render("~~gone~~", None, Some(false), None, None), "<p>~~gone~~</p>\n");
}

#[test]
fn task_lists_are_on_until_turned_off() {
    assert!(html("- [x] done").contains("type=\"checkbox\""));
    assert!(!render("- [x] done", None, None, Some(false), None).contains("checkbox"));
}

#[test]
fn html_is_shown_as_text_until_allowed() {
    let text = "<script>alert(1)</script>\n\nand <b onclick=\"x()\">inline</b>";
    assert!(!html(text).contains("<script"));
    assert!(!html(text).contains("<b"));
    assert!(html(text).starts_with("<p>&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(render(text, None, None, None, Some(true)).contains("<script>alert(1)</script>"));
}

#[test]
fn links_cannot_run_scripts_until_allowed() {
    let scripts = [
        "[x](javascript:alert(1))",
        "[x](JavaScript:alert(1))",
        "[x](<java&#10;script:alert(1)>)",
        "[x](&#1;javascript:alert(1))",
        "[x](javascript&colon;alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "<javascript:alert(1)>",
        "![x](vbscript:x)",
        "[x][1]\n\n[1]: javascript:alert(1)",
    ];
    for text in scripts {
        let page = html(text);
        assert!(page.contains("=\"\""), "{text} became {page}");
    }
    assert!(render(scripts[0], None, None, None, Some(true)).contains("href=\"javascript:alert(1)\""));
}

#[test]
fn harmless_links_stay() {
    for url in ["https://example.com/a:b", "mailto:john@example.com", "docs/a:b.md", "/a", "#top", "?q=a:b"] {
        let page = html(&format!("[x]({url})"));
        assert!(page.contains(&format!("href=\"{url}\"")), "{url} became {page}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let refused = Markdown::html(b"caf\xe9".to_vec(), None, None, None, None);
    assert_eq!(refused, Err(Error::bad_request("the text is not UTF-8 at byte 3")));
}

#[test]
fn deep_nesting_is_only_more_text() {
    let quotes = ">".repeat(10_000);
    assert!(html(&quotes).contains("<blockquote>"));
    assert!(!html(&"[".repeat(50_000)).is_empty());
}
