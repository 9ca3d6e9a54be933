//! One server process: killed when it is dropped, stopped and continued on demand.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid};

/// A port of 127.0.0.1 that nobody uses at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`; what it prints goes to `log`. It dies with the thread that starts it, at the latest.
    pub fn start(mut command: Command, log: &std::path::Path) -> Process {
        let out = std::fs::File::create(log).expect("a log file");
        let err = out.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // SAFETY: one system call, nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        Process { child: command.spawn().expect("the server starts") }
    }

    /// SIGSTOP: it keeps its connections and answers nothing. Returns when all of its threads stand still.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).expect("a child of this process");
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("a child of this process")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server lives");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
