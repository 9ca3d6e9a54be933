//! Opens this site as a command needs it.

use std::collections::HashSet;
use std::path::Path;

use refgate_host::config::Config;
use refgate_host::{Error, Site};

use super::RecordArgs;
use crate::output::warn;
use crate::system::system;

/// Reads the configuration file.
pub fn config(file: &Path) -> Result<Config, Error> {
    Ok(Config::load(file)?)
}

/// The site of the configuration, with its ref-db, repositories and filters.
pub async fn open(file: &Path) -> Result<Site, Error> {
    Site::open(config(file)?, &system()?).await
}

/// The same, recording what the filters are asked and say if the arguments or the configuration want it.
pub async fn open_recording(file: &Path, record: &RecordArgs) -> Result<Site, Error> {
    let mut config = config(file)?;
    record.apply(&mut config);
    Site::open(config, &system()?).await
}

/// Shows what went wrong beside the result.
pub fn problems(problems: &[String]) {
    let mut seen = HashSet::new();
    problems.iter().filter(|problem| seen.insert(*problem)).for_each(|problem| warn(problem));
}
