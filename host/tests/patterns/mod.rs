//! The table of patterns of `docs/configuration.md`, for the tests that hold it true.

/// One example.
pub struct Row {
    /// A pattern.
    pub pattern: String,
    /// A name.
    pub name: String,
    /// Whether it matches as `--ref`, or in `NAME.toml`.
    pub ref_option: bool,
    /// Whether it matches in the settings of a filter.
    pub filters: bool,
    /// Whether it matches as `projects.pattern`.
    pub projects: bool,
}

/// All of them.
pub fn rows() -> Vec<Row> {
    let page = include_str!("../../../docs/configuration.md");
    let (_, table) = page.split_once("<!-- patterns: ").expect("the mark that begins the table");
    let (table, _) = table.split_once("<!-- patterns: end -->").expect("the mark that ends it");
    let rows: Vec<Row> = table.lines().filter(|line| line.starts_with("| `")).map(row).collect();
    assert!(rows.len() >= 10, "the table has {} rows", rows.len());
    rows
}

fn row(line: &str) -> Row {
    // Within a table of markdown a bar is written with a backslash.
    let line = line.replace("\\|", "\u{1}");
    let cells: Vec<String> = line
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().trim_matches('`').replace('\u{1}', "|"))
        .collect();
    let [pattern, name, ref_option, filters, projects] = &cells[..] else { panic!("five cells: {line}") };
    let yes = |cell: &str| match cell {
        "yes" => true,
        "no" => false,
        other => panic!("yes or no, not {other}: {line}"),
    };
    Row {
        pattern: pattern.clone(),
        name: name.clone(),
        ref_option: yes(ref_option),
        filters: yes(filters),
        projects: yes(projects),
    }
}
