//! The host side of the imports: hands out columns, takes verdicts, selections and log lines.
//!
//! The resources are borrowed for the length of a call, and a call has one of each; so a handle stands for "the one of this
//! call", nothing is kept in a table, and nothing has to be deleted afterwards.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use refgate_core::{Project, RefBatch};
use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use crate::bindings::refgate::filter::{batches, clock, log, project_batches};
use crate::limits::Meter;
use crate::log::{LogLevel, PluginLog};
use crate::verdicts::{Gathered, Selected};

/// What an instance can reach.
pub(crate) struct HostState {
    pub(crate) call: Call,
    pub(crate) meter: Meter,
    pub(crate) log: PluginLog,
}

/// The call that an instance is in.
pub(crate) enum Call {
    /// None, or `configure`.
    None,
    /// A look at refs.
    Look(Arc<RefBatch>, Gathered),
    /// A choice among projects.
    Match(Arc<[Project]>, Selected),
}

impl HostState {
    /// Ends the call: what is left of it.
    pub(crate) fn take_call(&mut self) -> Call {
        mem::replace(&mut self.call, Call::None)
    }

    fn batch(&self) -> Result<&RefBatch> {
        match &self.call {
            Call::Look(batch, _) => Ok(batch),
            _ => bail!("it used a batch of refs outside of a look"),
        }
    }

    fn verdicts(&mut self) -> Result<&mut Gathered> {
        match &mut self.call {
            Call::Look(_, gathered) => Ok(gathered),
            _ => bail!("it used verdicts outside of a look"),
        }
    }

    fn projects(&self) -> Result<&[Project]> {
        match &self.call {
            Call::Match(projects, _) => Ok(projects),
            _ => bail!("it used a batch of projects outside of a match"),
        }
    }

    fn selection(&mut self) -> Result<&mut Selected> {
        match &mut self.call {
            Call::Match(_, selected) => Ok(selected),
            _ => bail!("it used a selection outside of a match"),
        }
    }
}

/// The range of a batch of `len`, if it is one.
fn range(start: u32, end: u32, len: usize) -> Result<Range<usize>> {
    if start > end || end as usize > len {
        bail!("it asked for items {start}..{end} of a batch of {len}");
    }
    Ok(start as usize..end as usize)
}

/// The object ids of a range.
fn oids(column: &[u8], oid_len: usize, range: Range<usize>) -> Vec<u8> {
    column[range.start * oid_len..range.end * oid_len].to_vec()
}

impl batches::Host for HostState {}

impl batches::HostRefBatch for HostState {
    fn project(&mut self, _: Resource<batches::RefBatch>) -> Result<String> {
        Ok(self.batch()?.project.as_str().to_owned())
    }

    fn peer(&mut self, _: Resource<batches::RefBatch>) -> Result<String> {
        Ok(self.batch()?.peer.clone())
    }

    fn len(&mut self, _: Resource<batches::RefBatch>) -> Result<u32> {
        Ok(self.batch()?.len() as u32)
    }

    fn oid_len(&mut self, _: Resource<batches::RefBatch>) -> Result<u32> {
        Ok(self.batch()?.oid_len as u32)
    }

    fn attempt(&mut self, _: Resource<batches::RefBatch>) -> Result<u32> {
        Ok(self.batch()?.attempt)
    }

    fn select(&mut self, _: Resource<batches::RefBatch>, mask: u32, value: u32) -> Result<Vec<u32>> {
        Ok(self.batch()?.select(mask, value))
    }

    fn select_prefix(&mut self, _: Resource<batches::RefBatch>, prefix: Vec<u8>) -> Result<Vec<u32>> {
        Ok(self.batch()?.select_prefix(&prefix))
    }

    fn states(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u32>> {
        let batch = self.batch()?;
        Ok(batch.states[range(start, end, batch.len())?].to_vec())
    }

    fn names(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<batches::Column> {
        let batch = self.batch()?;
        let range = range(start, end, batch.len())?;
        let offset = |i: usize| if i == 0 { 0 } else { batch.name_ends[i - 1] };
        let (from, to) = (offset(range.start), offset(range.end));
        Ok(batches::Column {
            bytes: batch.names[from as usize..to as usize].to_vec(),
            ends: batch.name_ends[range].iter().map(|end| end - from).collect(),
        })
    }

    fn names_at(&mut self, _: Resource<batches::RefBatch>, indices: Vec<u32>) -> Result<batches::Column> {
        let batch = self.batch()?;
        let mut column = batches::Column { bytes: Vec::new(), ends: Vec::with_capacity(indices.len()) };
        for index in indices {
            if index as usize >= batch.len() {
                bail!("it asked for the name of item {index} of a batch of {}", batch.len());
            }
            column.bytes.extend_from_slice(batch.name(index as usize));
            // Repeated indices could add up to anything; the ends have to fit 32 bits.
            match u32::try_from(column.bytes.len()) {
                Ok(end) => column.ends.push(end),
                Err(_) => bail!("it asked for more than 4 GiB of names at once"),
            }
        }
        Ok(column)
    }

    fn new_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        let batch = self.batch()?;
        Ok(oids(&batch.new_oids, batch.oid_len, range(start, end, batch.len())?))
    }

    fn old_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        let batch = self.batch()?;
        Ok(oids(&batch.old_oids, batch.oid_len, range(start, end, batch.len())?))
    }

    fn local_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        let batch = self.batch()?;
        Ok(oids(&batch.local_oids, batch.oid_len, range(start, end, batch.len())?))
    }

    fn global_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        let batch = self.batch()?;
        Ok(oids(&batch.global_oids, batch.oid_len, range(start, end, batch.len())?))
    }

    fn groups(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u32>> {
        let batch = self.batch()?;
        Ok(batch.groups[range(start, end, batch.len())?].to_vec())
    }

    fn drop(&mut self, _: Resource<batches::RefBatch>) -> Result<()> {
        Ok(())
    }
}

impl batches::HostVerdicts for HostState {
    fn discard(&mut self, _: Resource<batches::Verdicts>, indices: Vec<u32>, reason: String) -> Result<()> {
        self.verdicts()?.discard(indices, reason)
    }

    fn discard_all(&mut self, _: Resource<batches::Verdicts>, reason: String) -> Result<()> {
        self.verdicts()?.discard_all(reason)
    }

    fn recheck(&mut self, _: Resource<batches::Verdicts>, indices: Vec<u32>) -> Result<()> {
        self.verdicts()?.recheck(indices)
    }

    fn drop(&mut self, _: Resource<batches::Verdicts>) -> Result<()> {
        Ok(())
    }
}

impl project_batches::Host for HostState {}

impl project_batches::HostProjectBatch for HostState {
    fn len(&mut self, _: Resource<project_batches::ProjectBatch>) -> Result<u32> {
        Ok(self.projects()?.len() as u32)
    }

    fn names(
        &mut self,
        _: Resource<project_batches::ProjectBatch>,
        start: u32,
        end: u32,
    ) -> Result<Vec<String>> {
        let projects = self.projects()?;
        let range = range(start, end, projects.len())?;
        Ok(projects[range].iter().map(|project| project.as_str().to_owned()).collect())
    }

    fn drop(&mut self, _: Resource<project_batches::ProjectBatch>) -> Result<()> {
        Ok(())
    }
}

impl project_batches::HostSelection for HostState {
    fn select(&mut self, _: Resource<project_batches::Selection>, indices: Vec<u32>) -> Result<()> {
        self.selection()?.select(&indices)
    }

    fn select_all(&mut self, _: Resource<project_batches::Selection>) -> Result<()> {
        self.selection()?.select_all();
        Ok(())
    }

    fn drop(&mut self, _: Resource<project_batches::Selection>) -> Result<()> {
        Ok(())
    }
}

impl clock::Host for HostState {
    fn now_ms(&mut self) -> Result<u64> {
        match &self.call {
            Call::Look(batch, _) => Ok(batch.now_ms),
            _ => bail!("it asked for the time outside of a look"),
        }
    }
}

impl log::Host for HostState {
    fn enabled(&mut self, level: u8) -> Result<bool> {
        Ok(self.log.enabled(LogLevel::from_wit(level)))
    }

    fn write(&mut self, level: u8, message: String) -> Result<()> {
        self.log.write(LogLevel::from_wit(level), &message);
        Ok(())
    }
}
