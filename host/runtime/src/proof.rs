//! Proves at the start that a loop without an end is stopped, and refuses to run any guest otherwise.
//!
//! Deadlines rest on a thread that ticks. If it did not run, nothing would look wrong until a guest loops; then the
//! decision would hang. So a loop is run first, in the same engine with the same ticker.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak, Instance, Module, Store, Trap, TypedFunc};

use crate::limits::TICK;
use crate::machine;

/// Ticks are this short until the verdict, so that nobody waits for it. No guest runs by then.
const FIRST_TICKS: Duration = Duration::from_millis(1);

/// How long to wait for the verdict. The loop itself ends after a few seconds of computing, stopped or not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ticks that pass at once when the ticker dies: more than any call has left.
const LAST_TICKS: u32 = 1 << 20;

/// `(memory 1) (func (export "") (local i32) loop local.get 0 i32.const 1 i32.add local.tee 0 br_if 0 end)`: four thousand
/// million turns. That is endless for a ticker that runs, and yet nothing turns for ever where none does. The memory is
/// there to find out whether the machine has room for one.
#[rustfmt::skip]
const LOOP: [u8; 49] = [
    0, b'a', b's', b'm', 1, 0, 0, 0,
    1, 4, 1, 0x60, 0, 0,
    3, 2, 1, 0,
    5, 3, 1, 0, 1,
    7, 4, 1, 0, 0, 0,
    10, 18, 1, 16, 1, 1, 0x7f, 3, 0x40, 0x20, 0, 0x41, 1, 0x6a, 0x22, 0, 0x0d, 0, 0x0b, 0x0b,
];

const OPEN: u8 = 0;
const PROVED: u8 = 1;
const FAILED: u8 = 2;

/// The verdict on the ticker.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    state: AtomicU8,
    cause: Mutex<String>,
    decided: Condvar,
}

impl Proof {
    /// Compiles the loop, then starts the ticker and the proof, a thread each. The ticker ends with the engine, the proof
    /// with the verdict.
    ///
    /// # Errors
    /// What the machine refuses, and what to do: nothing compiled runs here, or there is no memory or no thread for it.
    pub(crate) fn begin(
        engine: &Engine,
        fuel: bool,
        pause: Arc<dyn Fn(Duration) + Send + Sync>,
    ) -> Result<Arc<Proof>, String> {
        let started = started(engine, fuel)?;
        let proof = Arc::new(Proof::default());
        let ticker = Ticker { engine: engine.weak(), proof: proof.clone() };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("refgate-epoch").spawn(move || ticker.run(&*pause)).map_err(|e| machine::no_thread(&e))?;
        let decides = proof.clone();
        let prove = move || match is_stopped(started) {
            Ok(()) => decides.decide(PROVED, ""),
            Err(cause) => decides.decide(FAILED, &cause),
        };
        thread("refgate-proof").spawn(prove).map_err(|e| machine::no_thread(&e))?;
        Ok(proof)
    }

    /// Waits for the verdict the first time. Ask after the deadline of a call is set: a ticker that dies later than that
    /// lets it pass.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.state.load(Ordering::SeqCst) == OPEN {
            let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
            let open = |_: &mut String| self.state.load(Ordering::SeqCst) == OPEN;
            let waited = self.decided.wait_timeout_while(cause, PATIENCE, open);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        match self.state.load(Ordering::SeqCst) {
            PROVED => Ok(()),
            FAILED => Err(self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            _ => Err(no_ticker(&format!("no loop was stopped within {} s", PATIENCE.as_secs()))),
        }
    }

    /// A failure stays: only the first verdict and a later failure count.
    fn decide(&self, state: u8, why: &str) {
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.load(Ordering::SeqCst) != FAILED {
            *cause = why.to_owned();
            self.state.store(state, Ordering::SeqCst);
        }
        self.decided.notify_all();
    }
}

fn no_ticker(why: &str) -> String {
    format!("the ticker does not run: {why}, so no plugin could be stopped and none is run; restart refgate")
}

fn broken(e: wasmtime::Error) -> String {
    machine::refusal(&e).unwrap_or_else(|| format!("the self-test cannot run: {e:#}"))
}

/// The loop, ready to run.
fn started(engine: &Engine, fuel: bool) -> Result<(Store<()>, TypedFunc<(), ()>), String> {
    let module = machine::compile(|| Module::from_binary(engine, &LOOP))?.map_err(broken)?;
    let mut store = Store::new(engine, ());
    if fuel {
        store.set_fuel(u64::MAX).map_err(broken)?;
    }
    let instance = Instance::new(&mut store, &module, &[]).map_err(broken)?;
    let turn = instance.get_typed_func::<(), ()>(&mut store, "").map_err(broken)?;
    Ok((store, turn))
}

/// Runs the loop with a deadline that takes a tick and a pause to reach.
fn is_stopped((mut store, turn): (Store<()>, TypedFunc<(), ()>)) -> Result<(), String> {
    store.set_epoch_deadline(2);
    match turn.call(&mut store, ()) {
        Ok(()) => Err(no_ticker("a loop was not stopped")),
        Err(e) if e.downcast_ref::<Trap>() == Some(&Trap::Interrupt) => Ok(()),
        Err(e) => Err(broken(e)),
    }
}

struct Ticker {
    engine: EngineWeak,
    proof: Arc<Proof>,
}

impl Ticker {
    fn run(&self, pause: &dyn Fn(Duration)) {
        // It holds the engine only while it ticks.
        while let Some(engine) = self.engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            pause(if self.proof.state.load(Ordering::SeqCst) == OPEN { FIRST_TICKS } else { TICK });
        }
    }
}

impl Drop for Ticker {
    /// A ticker that ends while there is an engine panicked in `pause`: what runs now is stopped, and nothing runs again.
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            self.proof.decide(FAILED, &no_ticker("its thread ended"));
            (0..LAST_TICKS).for_each(|_| engine.increment_epoch());
        }
    }
}
