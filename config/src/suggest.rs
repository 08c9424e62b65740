//! "Did you mean …?" for a name that nobody knows. Only names go in, never values.

/// Longer names are nobody's typo, and the comparison is quadratic.
const NAME_MAX_BYTES: usize = 96;

/// The known name that `unknown` most likely stands for: close in spelling, or the same knob in another section.
/// `separator` stands between section and knob.
pub(crate) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>, separator: &str) -> Option<&'a str> {
    if unknown.len() > NAME_MAX_BYTES {
        return None;
    }
    let knob_of = |name: &str| name.rsplit_once(separator).map_or(name, |(_, knob)| knob).to_owned();
    let knob = knob_of(unknown);
    let typos_max = (unknown.len() / 6).max(2);
    known
        .map(|name| (distance(unknown, name), name))
        .filter(|(typos, name)| *typos <= typos_max || knob_of(name).eq_ignore_ascii_case(&knob))
        .min()
        .map(|(_, name)| name)
}

/// How many characters must be added, dropped or changed to make one text the other, whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let above = row[j + 1];
            let changed = diagonal + usize::from(!left.eq_ignore_ascii_case(right));
            row[j + 1] = changed.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_changes() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("listn", "listen"), 1);
        assert_eq!(distance("lissten", "listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn suggests_spelling_and_section_but_not_anything() {
        let known = ["edge.listen", "edge.threads", "worker.drain_timeout_ms", "edge.drain_timeout_ms"];
        let nearest = |unknown| nearest(unknown, known.into_iter(), ".");
        assert_eq!(nearest("edge.listn"), Some("edge.listen"));
        assert_eq!(nearest("http.listen"), Some("edge.listen"));
        assert_eq!(nearest("wroker.drain_timeout_ms"), Some("worker.drain_timeout_ms"));
        assert_eq!(nearest("EDGE.Listn"), Some("edge.listen"));
        assert_eq!(nearest("edge.color"), None);
        assert_eq!(nearest(&"x".repeat(1_000)), None);
    }
}
