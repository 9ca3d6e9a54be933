//! The reader against git itself, and what is said of text that git refuses too.

use std::path::Path;
use std::process::Command;

use super::super::parse::parse;
use super::Dir;

/// What `git config --list -z` says of a file: key, and the value unless there is no `=`.
fn git_says(path: &Path) -> Option<Vec<(String, Option<String>)>> {
    let output =
        Command::new("git").args(["config", "-f"]).arg(path).args(["--list", "-z"]).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let entries = text.split_terminator('\0').map(|entry| match entry.split_once('\n') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (entry.to_owned(), None),
    });
    Some(entries.collect())
}

fn we_say(text: &[u8]) -> Option<Vec<(String, Option<String>)>> {
    let items = parse(text, Path::new("x")).ok()?;
    let entries = items.into_iter().map(|item| {
        let key = match &item.subsection {
            Some(subsection) => format!("{}.{subsection}.{}", item.section, item.key),
            None => format!("{}.{}", item.section, item.key),
        };
        (key, item.value)
    });
    Some(entries.collect())
}

/// Texts that are read, or refused, as git does.
const TRICKY: &[&str] = &[
    "",
    "\n\n# only a comment\n; and another",
    "[a]\nb = c\n[a]\nb = d\n[A]\nB = e\n",
    "[a]b=c\n[d] e = f # comment\n[g]h=i;j",
    "[a]\nbare\nempty =\nquoted = \"\"\n  spaced   =   x  y   \n",
    "[a \"Sub Section\"]\nkey = 1\n[a \"sub\\\"quote\\\\slash\"]\nkey = 2\n[a \"\"]\nkey = 3\n[a.SUB]\nkey = 4\n[a.B.c]\nkey=5\n",
    "[a]\nb = \"hash # in quotes\" # out\nc = semi;colon\nd = \"x;y\"\n",
    "[a]\nb = one\\\n  two\\\nthree\nc = \"quo\\\nted\"\nd = end \\\n\ne = f\n",
    "[a]\nb = tab\\there\\nline\\\\slash\\\"quote\\bback\n",
    "[a]\nb = x\"y z\"w\nc = \"  kept  \"  \nd = a \"  \" b\n",
    "\u{feff}[a]\r\nb = c\r\n[d \"e\"]\r\nf = \"g\"\r\nh = i\\\r\nj\r\n",
    "[a]\n\tb\t=\tc\td\t\n",
    "[a-b.c-d]\nx-1 = y\n",
    "[a]\nb = ünïcode 日本\n[a \"日本\"]\nb = c\n",
    "[a]\nb = c\\\n",
    "[a]\nb = c \\",
    "[a]\nb == c\nd = e = f\n",
    "[a] ; comment\nb = c ; d\n# [x]\n",
    "[a]\nb = \\\n  c\n",
    "[a]\nb = \"x\" \\\n  # not a comment?\n",
    "[a][b]\nc = d\n",
    "[a] [b] c = d\n",
    "[a] b\n[c] d",
    "[a]\r\nb\r\n",
    "[a]\nb=\n\n\n  c\t\n",
    "[a]\nb = #\nc = \"#\"\n",
    // Refused by both.
    "[a]\nb = ^a\\.b\n",
    "[a]\nb = \"open\n",
    "[a\nb = c\n",
    "[a \"b]\nc = d\n",
    "[a]\n1b = c\n",
    "[a]\nb_c = d\n",
    "[a]\n= d\n",
    "[a b]\nc = d\n",
    "[]\nc = d\n",
    "[a]\nb c = d\n",
    "[a]\nb # comment\n",
    "[a]\nb; comment\n",
    "[a]\nb [c]\n",
    "[a] b [c]\nd = e",
    "[a]\nb \"c\"\n",
    "[a]\nb = \\x\n",
];

#[test]
fn we_read_what_git_reads() {
    let dir = Dir::new();
    for text in TRICKY {
        let path = dir.write("f", text);
        assert_eq!(we_say(text.as_bytes()), git_says(&path), "{text:?}");
    }
    assert!(TRICKY.iter().filter(|t| we_say(t.as_bytes()).is_none()).count() >= 10, "some must be refused");
}

/// Pieces that mean something to the syntax, in 400 orders that are the same in every run.
#[test]
fn we_read_what_git_reads_of_any_mixture() {
    const PIECES: [&str; 24] = [
        "[a]",
        "[b \"c\"]",
        "[d.E]",
        "k",
        "K-1",
        "=",
        " = ",
        " ",
        "\t",
        "\n",
        "\n",
        "\r\n",
        "\\\n",
        "\\\\",
        "\\\"",
        "\\t",
        "\"",
        "\"x y\"",
        "#c",
        ";",
        "v",
        "  w",
        "é",
        "1",
    ];
    let dir = Dir::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |bound: usize| {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let mut read = 0;
    for _ in 0..400 {
        let mut text = String::from("[s]\n");
        for _ in 0..next(4) + 1 {
            text.push_str("k = ");
            (0..next(7)).for_each(|_| text.push_str(PIECES[next(PIECES.len())]));
            text.push('\n');
        }
        let path = dir.write("f", &text);
        let git = git_says(&path);
        assert_eq!(we_say(text.as_bytes()), git, "{text:?}");
        read += usize::from(git.is_some());
    }
    assert!((50..350).contains(&read), "{read} of 400 are read: the mixture is no test of both");
}

#[test]
fn lines_are_counted_from_where_a_key_stands() {
    let text = "# one\r\n\r\n[a] b = c\nd = e \\\n f \\\n g\n\n[h \"i\"]\n\n\tj\n[k]l=m\nn=\"o\"";
    let items = parse(text.as_bytes(), Path::new("x")).unwrap();
    let lines: Vec<(&str, u32)> = items.iter().map(|i| (i.key.as_str(), i.origin.line)).collect();
    assert_eq!(lines, [("b", 3), ("d", 4), ("j", 10), ("l", 11), ("n", 12)]);
}

#[test]
fn syntax_errors_show_the_line_and_what_to_write() {
    for (text, wanted) in [
        (
            "[projects]\n\tpattern = ^a\\.b\n",
            "x:2: a backslash in a value must be doubled: `pattern = ^a\\.b`; write `\\\\` for each `\\`, as in `^a\\\\.b`",
        ),
        ("[a]\nb = c\\\n d\\\n e\\d\n", "x:4: a backslash in a value must be doubled: `e\\d`"),
        ("[a]\nb = \"\\d\"\n", "x:2: a backslash in a value must be doubled"),
        ("[a]\nb = \"c\nd = e\n", "x:2: a quote is not closed: `b = \"c`"),
        ("[a]\n\nb = \"c", "x:3: a quote is not closed: `b = \"c`"),
        ("[a]\n[b c]\n", "x:2: this is not a section header: `[b c]`; write `[section]`"),
        ("[a]\nb = c\n!d\n", "x:3: this is neither a section, a key nor a comment: `!d`"),
        ("[a]\nb c = d\n", "x:2: something other than `=` follows the key `b`; write `b = value`"),
        ("b = c\n[a]\n", "x:1: `b` stands before the first section"),
        ("hello world", "x:1: "),
    ] {
        let e = parse(text.as_bytes(), Path::new("x")).unwrap_err().to_string();
        assert!(e.starts_with(wanted), "{text:?}\n{e}");
    }
    let e = parse(b"[a]\nb = \xff\xfe\n", Path::new("x")).unwrap_err().to_string();
    assert!(e.starts_with("x:2: the text is not UTF-8"), "{e}");
}
