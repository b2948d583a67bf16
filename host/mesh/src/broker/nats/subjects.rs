//! Which subjects a stream keeps. No two subjects of one stream may name the same topic, so those that would are put
//! together into one that names all of theirs.

/// The subjects that a stream needs so that it keeps what `wanted` names too. None where it does already.
pub(super) fn cover(subjects: &[String], wanted: &str) -> Option<Vec<String>> {
    let mut subjects = subjects.to_vec();
    let mut wanted = wanted.to_owned();
    while let Some(at) = subjects.iter().position(|known| overlap(known, &wanted)) {
        let known = subjects.swap_remove(at);
        let both = join(&known, &wanted);
        if both == known {
            return None;
        }
        wanted = both;
    }
    subjects.push(wanted);
    subjects.sort_unstable();
    Some(subjects)
}

/// Whether there can be a topic that both name.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// What names all topics that one of the two names, and few more.
fn join(one: &str, other: &str) -> String {
    let mut words = Vec::new();
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b && a != ">" => words.push(a),
            (Some(a), Some(b)) if a != ">" && b != ">" => words.push("*"),
            _ => {
                words.push(">");
                break;
            }
        }
    }
    words.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(subjects: &[&str], wanted: &str) -> Option<Vec<String>> {
        cover(&subjects.iter().map(|&subject| subject.to_owned()).collect::<Vec<_>>(), wanted)
    }

    #[test]
    fn what_is_kept_already_needs_nothing() {
        assert_eq!(covered(&["a.b"], "a.b"), None);
        assert_eq!(covered(&["x", "a.*"], "a.b"), None);
        assert_eq!(covered(&["a.>"], "a.*.c"), None);
    }

    #[test]
    fn what_is_new_is_added() {
        assert_eq!(covered(&[], "a").unwrap(), ["a"]);
        assert_eq!(covered(&["a.>"], "a").unwrap(), ["a", "a.>"]);
        assert_eq!(covered(&["a.*"], "a.b.c").unwrap(), ["a.*", "a.b.c"]);
    }

    #[test]
    fn what_overlaps_is_put_together() {
        assert_eq!(covered(&["a.b", "a.c", "b"], "a.*").unwrap(), ["a.*", "b"]);
        assert_eq!(covered(&["a.b.*"], "a.*.c").unwrap(), ["a.*.*"]);
        assert_eq!(covered(&["a.b.*", "a.d.c"], "a.*.c").unwrap(), ["a.*.*"]);
        assert_eq!(covered(&["a.*", "a.b.c"], "a.>").unwrap(), ["a.>"]);
        assert_eq!(covered(&["a.*.c"], "a.b.>").unwrap(), ["a.*.>"]);
    }
}
