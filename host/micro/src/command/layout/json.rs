//! JSON with a tab for each level. It works on the text, so that the order of keys and the digits of numbers stay as
//! the service wrote them.

/// Indents a JSON text. What is not JSON comes out as it went in.
pub fn indent(text: &str) -> String {
    let text = text.trim();
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut is_in_string = false;
    let mut is_escaped = false;
    // An opening bracket waits for what follows it: an empty pair stays on its line.
    let mut is_just_opened = false;
    for char in text.chars() {
        if is_in_string {
            out.push(char);
            is_in_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            continue;
        }
        if char.is_ascii_whitespace() {
            continue;
        }
        let is_closing = matches!(char, '}' | ']');
        if is_just_opened && !is_closing {
            depth += 1;
            line_end(&mut out, depth);
        } else if is_closing && !is_just_opened {
            depth = depth.saturating_sub(1);
            line_end(&mut out, depth);
        }
        is_just_opened = matches!(char, '{' | '[');
        out.push(char);
        match char {
            '"' => is_in_string = true,
            ',' => line_end(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

fn line_end(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n('\t', depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_indented_with_tabs() {
        let text =
            r#"{"msg":"Hello: {\"John\"}, [x]","n":18446744073709551615,"f":1.50,"a":[1,{"b":null}],"e":{},"l":[ ]}"#;
        let expected = "{
\t\"msg\": \"Hello: {\\\"John\\\"}, [x]\",
\t\"n\": 18446744073709551615,
\t\"f\": 1.50,
\t\"a\": [
\t\t1,
\t\t{
\t\t\t\"b\": null
\t\t}
\t],
\t\"e\": {},
\t\"l\": []
}";
        assert_eq!(indent(text), expected);
        assert_eq!(indent(expected), expected);
    }

    #[test]
    fn what_is_no_object_stays_on_one_line() {
        for text in ["7", "\"a \\\\\"", "{}", "[]", "null", "not: json"] {
            assert_eq!(indent(text), text);
        }
    }
}
