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
use crate::limits::Limits;
use crate::log::{LogLevel, PluginLog};
use crate::meter::Meter;
use crate::usage::Budget;
use crate::verdicts::{Gathered, Selected};

/// Bytes of the pointer and the length that a guest gets for each name of a list.
const NAME_BYTES: usize = 8;

/// What an instance can reach.
pub(crate) struct HostState {
    pub(crate) call: Call,
    /// The plugin's name.
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) meter: Meter,
    pub(crate) budget: Budget,
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
    /// Begins a call, with all its budgets full.
    pub(crate) fn begin_call(&mut self, call: Call) {
        self.call = call;
        self.budget.begin_call();
        self.log.begin_call();
    }

    /// Ends the call: what is left of it.
    pub(crate) fn take_call(&mut self) -> Call {
        mem::replace(&mut self.call, Call::None)
    }

    /// A call into the host that asks something of the batch of refs.
    fn batch(&mut self) -> Result<(&RefBatch, &mut Budget)> {
        self.budget.called(0)?;
        match &self.call {
            Call::Look(batch, _) => Ok((batch, &mut self.budget)),
            _ => bail!("it used a batch of refs outside of a look"),
        }
    }

    /// A call into the host that says something about refs, in `bytes`.
    fn verdicts(&mut self, bytes: usize) -> Result<&mut Gathered> {
        self.budget.called(bytes)?;
        match &mut self.call {
            Call::Look(_, gathered) => Ok(gathered),
            _ => bail!("it used verdicts outside of a look"),
        }
    }

    /// A call into the host that asks something of the batch of projects.
    fn projects(&mut self) -> Result<(&[Project], &mut Budget)> {
        self.budget.called(0)?;
        match &self.call {
            Call::Match(projects, _) => Ok((projects, &mut self.budget)),
            _ => bail!("it used a batch of projects outside of a match"),
        }
    }

    /// A call into the host that says something about projects, in `bytes`.
    fn selection(&mut self, bytes: usize) -> Result<&mut Selected> {
        self.budget.called(bytes)?;
        match &mut self.call {
            Call::Match(_, selected) => Ok(selected),
            _ => bail!("it used a selection outside of a match"),
        }
    }

    /// The object ids `start..end` of a column of the batch.
    fn oids(&mut self, start: u32, end: u32, column: fn(&RefBatch) -> &[u8]) -> Result<Vec<u8>> {
        let (batch, budget) = self.batch()?;
        let range = range(start, end, batch.len())?;
        copy(&column(batch)[range.start * batch.oid_len..range.end * batch.oid_len], budget)
    }
}

/// The range of a batch of `len`, if it is one.
fn range(start: u32, end: u32, len: usize) -> Result<Range<usize>> {
    if start > end || end as usize > len {
        bail!("it asked for items {start}..{end} of a batch of {len}");
    }
    Ok(start as usize..end as usize)
}

/// A copy for the guest.
fn copy<T: Copy>(items: &[T], budget: &mut Budget) -> Result<Vec<T>> {
    budget.hand_out(size_of_val(items))?;
    Ok(items.to_vec())
}

impl batches::Host for HostState {}

impl batches::HostRefBatch for HostState {
    fn project(&mut self, _: Resource<batches::RefBatch>) -> Result<String> {
        let (batch, budget) = self.batch()?;
        budget.hand_out(batch.project.as_str().len())?;
        Ok(batch.project.as_str().to_owned())
    }

    fn peer(&mut self, _: Resource<batches::RefBatch>) -> Result<String> {
        let (batch, budget) = self.batch()?;
        budget.hand_out(batch.peer.len())?;
        Ok(batch.peer.clone())
    }

    fn len(&mut self, _: Resource<batches::RefBatch>) -> Result<u32> {
        Ok(self.batch()?.0.len() as u32)
    }

    fn oid_len(&mut self, _: Resource<batches::RefBatch>) -> Result<u32> {
        Ok(self.batch()?.0.oid_len as u32)
    }

    fn attempt(&mut self, _: Resource<batches::RefBatch>) -> Result<u32> {
        Ok(self.batch()?.0.attempt)
    }

    fn select(&mut self, _: Resource<batches::RefBatch>, mask: u32, value: u32) -> Result<Vec<u32>> {
        let (batch, budget) = self.batch()?;
        let selected = batch.select(mask, value);
        budget.hand_out(size_of_val(&selected[..]))?;
        Ok(selected)
    }

    fn select_prefix(&mut self, _: Resource<batches::RefBatch>, prefix: Vec<u8>) -> Result<Vec<u32>> {
        let (batch, budget) = self.batch()?;
        budget.take_over(prefix.len())?;
        let selected = batch.select_prefix(&prefix);
        budget.hand_out(size_of_val(&selected[..]))?;
        Ok(selected)
    }

    fn states(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u32>> {
        let (batch, budget) = self.batch()?;
        copy(&batch.states[range(start, end, batch.len())?], budget)
    }

    fn names(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<batches::Column> {
        let (batch, budget) = self.batch()?;
        let range = range(start, end, batch.len())?;
        let offset = |i: usize| if i == 0 { 0 } else { batch.name_ends[i - 1] };
        let (from, to) = (offset(range.start), offset(range.end));
        budget.hand_out(size_of::<u32>() * range.len())?;
        Ok(batches::Column {
            bytes: copy(&batch.names[from as usize..to as usize], budget)?,
            ends: batch.name_ends[range].iter().map(|end| end - from).collect(),
        })
    }

    fn names_at(&mut self, _: Resource<batches::RefBatch>, indices: Vec<u32>) -> Result<batches::Column> {
        let (batch, budget) = self.batch()?;
        budget.take_over(size_of_val(&indices[..]))?;
        if let Some(index) = indices.iter().find(|i| **i as usize >= batch.len()) {
            bail!("it asked for the name of item {index} of a batch of {}", batch.len());
        }
        // Indices may repeat, so the names of them could add up to anything: counted before the first one is copied.
        let bytes: usize = indices.iter().map(|i| batch.name(*i as usize).len()).sum();
        budget.hand_out(bytes.saturating_add(size_of_val(&indices[..])))?;
        if u32::try_from(bytes).is_err() {
            bail!("it asked for more than 4 GiB of names at once");
        }
        let mut column =
            batches::Column { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(indices.len()) };
        for index in indices {
            column.bytes.extend_from_slice(batch.name(index as usize));
            column.ends.push(column.bytes.len() as u32);
        }
        Ok(column)
    }

    fn new_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        self.oids(start, end, |batch| &batch.new_oids)
    }

    fn old_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        self.oids(start, end, |batch| &batch.old_oids)
    }

    fn local_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        self.oids(start, end, |batch| &batch.local_oids)
    }

    fn global_oids(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u8>> {
        self.oids(start, end, |batch| &batch.global_oids)
    }

    fn groups(&mut self, _: Resource<batches::RefBatch>, start: u32, end: u32) -> Result<Vec<u32>> {
        let (batch, budget) = self.batch()?;
        copy(&batch.groups[range(start, end, batch.len())?], budget)
    }

    fn drop(&mut self, _: Resource<batches::RefBatch>) -> Result<()> {
        Ok(())
    }
}

impl batches::HostVerdicts for HostState {
    fn discard(&mut self, _: Resource<batches::Verdicts>, indices: Vec<u32>, reason: String) -> Result<()> {
        self.verdicts(size_of_val(&indices[..]) + reason.len())?.discard(indices, reason)
    }

    fn discard_all(&mut self, _: Resource<batches::Verdicts>, reason: String) -> Result<()> {
        self.verdicts(reason.len())?.discard_all(reason)
    }

    fn recheck(&mut self, _: Resource<batches::Verdicts>, indices: Vec<u32>) -> Result<()> {
        self.verdicts(size_of_val(&indices[..]))?.recheck(indices)
    }

    fn drop(&mut self, _: Resource<batches::Verdicts>) -> Result<()> {
        Ok(())
    }
}

impl project_batches::Host for HostState {}

impl project_batches::HostProjectBatch for HostState {
    fn len(&mut self, _: Resource<project_batches::ProjectBatch>) -> Result<u32> {
        Ok(self.projects()?.0.len() as u32)
    }

    fn names(
        &mut self,
        _: Resource<project_batches::ProjectBatch>,
        start: u32,
        end: u32,
    ) -> Result<Vec<String>> {
        let (projects, budget) = self.projects()?;
        let projects = &projects[range(start, end, projects.len())?];
        budget.hand_out(projects.iter().map(|project| NAME_BYTES + project.as_str().len()).sum())?;
        Ok(projects.iter().map(|project| project.as_str().to_owned()).collect())
    }

    fn drop(&mut self, _: Resource<project_batches::ProjectBatch>) -> Result<()> {
        Ok(())
    }
}

impl project_batches::HostSelection for HostState {
    fn select(&mut self, _: Resource<project_batches::Selection>, indices: Vec<u32>) -> Result<()> {
        self.selection(size_of_val(&indices[..]))?.select(&indices)
    }

    fn select_all(&mut self, _: Resource<project_batches::Selection>) -> Result<()> {
        self.selection(0)?.select_all();
        Ok(())
    }

    fn drop(&mut self, _: Resource<project_batches::Selection>) -> Result<()> {
        Ok(())
    }
}

impl clock::Host for HostState {
    fn now_ms(&mut self) -> Result<u64> {
        self.budget.called(0)?;
        match &self.call {
            Call::Look(batch, _) => Ok(batch.now_ms),
            _ => bail!("it asked for the time outside of a look"),
        }
    }
}

impl log::Host for HostState {
    fn enabled(&mut self, level: u8) -> Result<bool> {
        self.budget.called(0)?;
        Ok(self.log.enabled(LogLevel::from_wit(level)))
    }

    fn write(&mut self, level: u8, message: String) -> Result<()> {
        self.budget.called(message.len())?;
        self.log.write(LogLevel::from_wit(level), &message);
        Ok(())
    }
}
