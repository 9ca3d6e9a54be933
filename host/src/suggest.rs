//! "Did you mean": the nearest name to a mistyped one.

/// The candidate that is most like `given`, if one is near enough to be meant.
pub fn did_you_mean<'c>(given: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let near = |candidate: &str| strsim::jaro_winkler(&given.to_lowercase(), &candidate.to_lowercase());
    candidates
        .map(|candidate| (near(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn near_is_found_and_far_is_not() {
        let known = ["site-b", "upstream"];
        assert_eq!(did_you_mean("sit-b", known.into_iter()), Some("site-b"));
        assert_eq!(did_you_mean("Upstream", known.into_iter()), Some("upstream"));
        assert_eq!(did_you_mean("x", known.into_iter()), None);
    }
}
