//! Results as JUnit XML, which CI systems show case by case.

use std::fmt::Write;
use std::path::Path;

use refgate_host::Error;
use refgate_host::cases::CaseResult;

/// Writes the file; one suite per case file.
pub fn write(file: &Path, results: &[CaseResult]) -> Result<(), Error> {
    std::fs::write(file, xml(results))
        .map_err(|e| Error::failed(format!("cannot write `{}`: {e}", file.display())))
}

fn xml(results: &[CaseResult]) -> String {
    let failures = |results: &[&CaseResult]| results.iter().filter(|r| !r.passed()).count();
    let all: Vec<&CaseResult> = results.iter().collect();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, failed) = (all.len(), failures(&all));
    let _ = writeln!(
        out,
        "<testsuites name=\"refgate test\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\">"
    );
    for suite in all.chunk_by(|a, b| a.file == b.file) {
        let file = text(&suite[0].file.display().to_string());
        let (tests, failed) = (suite.len(), failures(suite));
        let _ = writeln!(
            out,
            "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">"
        );
        for result in suite {
            let _ = write!(out, "    <testcase name=\"{}\" classname=\"{file}\"", text(&result.name));
            match result.diff.first() {
                None => out.push_str("/>\n"),
                Some(first) => {
                    let _ = writeln!(
                        out,
                        ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                        text(first),
                        text(&result.diff.join("\n"))
                    );
                }
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Safe in attributes and between tags. XML has no way to write most control characters.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if (c < ' ') || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_there_and_nothing_breaks_out() {
        let result = |file: &str, name: &str, diff: &[&str]| CaseResult {
            file: file.into(),
            name: name.into(),
            diff: diff.iter().map(|d| (*d).to_owned()).collect(),
        };
        let results = [
            result("a.json", "good", &[]),
            result("a.json", "<\"&\u{1}>", &["is \"x\"", "2"]),
            result("b", "c", &[]),
        ];
        assert_eq!(
            xml(&results),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites name=\"refgate test\" tests=\"3\" failures=\"1\" errors=\"0\">\n\
             \u{20} <testsuite name=\"a.json\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\">\n\
             \u{20}   <testcase name=\"good\" classname=\"a.json\"/>\n\
             \u{20}   <testcase name=\"&lt;&quot;&amp;\u{fffd}&gt;\" classname=\"a.json\">\n\
             \u{20}     <failure message=\"is &quot;x&quot;\">is &quot;x&quot;&#10;2</failure>\n\
             \u{20}   </testcase>\n\
             \u{20} </testsuite>\n\
             \u{20} <testsuite name=\"b\" tests=\"1\" failures=\"0\" errors=\"0\" skipped=\"0\">\n\
             \u{20}   <testcase name=\"c\" classname=\"b\"/>\n\
             \u{20} </testsuite>\n\
             </testsuites>\n"
        );
    }
}
