//! The character sets that have a name in Java: `\w`, `\p{Alpha}`, `\h`, and what `\b` takes for a word.

use super::set::Set;

const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
const UPPER: &[(u32, u32)] = &[(0x41, 0x5a)];
const LOWER: &[(u32, u32)] = &[(0x61, 0x7a)];
const ALPHA: &[(u32, u32)] = &[(0x41, 0x5a), (0x61, 0x7a)];
const ALNUM: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const SPACE: &[(u32, u32)] = &[(0x09, 0x0d), (0x20, 0x20)];
const HORIZONTAL: &[(u32, u32)] = &[
    (0x09, 0x09),
    (0x20, 0x20),
    (0xa0, 0xa0),
    (0x1680, 0x1680),
    (0x180e, 0x180e),
    (0x2000, 0x200a),
    (0x202f, 0x202f),
    (0x205f, 0x205f),
    (0x3000, 0x3000),
];
const VERTICAL: &[(u32, u32)] = &[(0x0a, 0x0d), (0x85, 0x85), (0x2028, 0x2029)];
const TERMINATORS: &[(u32, u32)] = &[(0x0a, 0x0a), (0x0d, 0x0d), (0x85, 0x85), (0x2028, 0x2029)];

/// Letters and digits outside ASCII that have been such since long before Unicode 13, in whole blocks. `\b` of Java 17
/// takes every Unicode letter or digit for a part of a word (later versions only ASCII); a name with a character in
/// neither of these two lists is reported as not decided.
const KNOWN_WORD: &[(u32, u32)] = &[
    (0xaa, 0xaa),
    (0xb5, 0xb5),
    (0xba, 0xba),
    (0xc0, 0xd6),
    (0xd8, 0xf6),
    (0xf8, 0x2c1),
    (0x388, 0x38a),
    (0x38e, 0x3a1),
    (0x3a3, 0x3f5),
    (0x3f7, 0x481),
    (0x48a, 0x52f),
    (0x5d0, 0x5ea),
    (0x1e00, 0x1f15),
    (0x3041, 0x3096),
    (0x30a1, 0x30fa),
    (0x3400, 0x4dbf),
    (0x4e00, 0x9ffc),
    (0xac00, 0xd7a3),
];

/// Characters outside ASCII that are neither letter nor digit nor mark.
const KNOWN_OTHER: &[(u32, u32)] = &[
    (0x80, 0xa9),
    (0xab, 0xb4),
    (0xb6, 0xb9),
    (0xbb, 0xbf),
    (0xd7, 0xd7),
    (0xf7, 0xf7),
    (0x2000, 0x2064),
    (0x20a0, 0x20bf),
    (0x2190, 0x23ff),
    (0x2500, 0x2775),
    (0x3000, 0x3004),
    (0xff01, 0xff0f),
    (0x1f300, 0x1f64f),
];

/// The set of `\d`, `\w`, `\s`, `\h`, `\v` or of the upper-case complement.
pub(super) fn short(letter: char) -> Option<Set> {
    let set = Set::of(match letter.to_ascii_lowercase() {
        'd' => DIGIT,
        'w' => WORD,
        's' => SPACE,
        'h' => HORIZONTAL,
        'v' => VERTICAL,
        _ => return None,
    });
    Some(if letter.is_ascii_uppercase() { set.complement() } else { set })
}

/// The set of `\p{name}` for the POSIX names, which are ASCII in Java.
pub(super) fn property(name: &str, fold: bool) -> Option<Set> {
    Some(Set::of(match name {
        "Lower" | "Upper" if fold => ALPHA,
        "Lower" => LOWER,
        "Upper" => UPPER,
        "Alpha" => ALPHA,
        "Digit" => DIGIT,
        "Alnum" => ALNUM,
        "Punct" => &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
        "Graph" => &[(0x21, 0x7e)],
        "Print" => &[(0x20, 0x7e)],
        "Blank" => &[(0x09, 0x09), (0x20, 0x20)],
        "Cntrl" => &[(0x00, 0x1f), (0x7f, 0x7f)],
        "XDigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        "Space" => SPACE,
        "ASCII" => &[(0x00, 0x7f)],
        _ => return None,
    }))
}

/// `.`: everything but the line terminators, everything at all with `(?s)`, everything but `\n` with `(?d)`.
pub(super) fn dot(all: bool, unix: bool) -> Set {
    Set::of(match (all, unix) {
        (true, _) => &[],
        (false, true) => &[(0x0a, 0x0a)],
        (false, false) => TERMINATORS,
    })
    .complement()
}

/// What `\b` takes for a part of a word, as far as [`is_known`].
pub(super) fn boundary_word() -> Set {
    Set::of(WORD).union(&Set::of(KNOWN_WORD))
}

/// Whether `\b` can be decided next to this character.
pub(super) fn is_known(code: u32) -> bool {
    let within = |ranges: &[(u32, u32)]| ranges.iter().any(|&(from, to)| (from..=to).contains(&code));
    code < 0x80 || within(KNOWN_WORD) || within(KNOWN_OTHER)
}
