//! A program on a terminal of its own, and the screen that a person would see there.
//!
//! Keeps: the screen is what the program wrote, read by a terminal emulator; the modes of the terminal are those that
//! the kernel has.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::support::{skip, wait_for, wait_until};

/// The program, and the other end of its terminal.
pub(crate) struct Pty {
    master: File,
    /// Kept open, so that the terminal outlives the program and can be looked at.
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Pty {
    /// Starts a command on a terminal of that size; `None` where no program makes it the controlling one.
    pub(crate) fn start(command: &Command, columns: u16, rows: u16) -> Option<Self> {
        if Command::new("setsid").arg("--version").output().is_err() {
            skip("`setsid` of util-linux is not installed");
            return None;
        }
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut owned = Command::new("setsid");
        owned.env_clear().arg("--ctty").arg(command.get_program()).args(command.get_args());
        owned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        owned.env("TERM", "xterm-256color").current_dir(command.get_current_dir().unwrap());
        let child = owned.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(lines(rows), lines(columns), 0)));
        let master = File::from(master);
        let (mut from, seen) = (master.try_clone().unwrap(), Arc::clone(&screen));
        // It ends with the terminal.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                seen.lock().unwrap().process(&bytes[..count]);
            }
        });
        Some(Self { master, slave, child, screen })
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What a person sees.
    pub(crate) fn shown(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen is as asked.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        wait_for(what, || {
            let shown = self.shown();
            if is_so(&shown) { Ok(shown) } else { Err(shown) }
        })
    }

    /// Waits until the screen holds this.
    #[track_caller]
    pub(crate) fn wait_text(&self, text: &str) -> String {
        self.wait(text, |shown| shown.contains(text))
    }

    /// Makes the terminal larger or smaller, as a window does.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(lines(rows), lines(columns));
        let end = Stdio::from(self.slave.try_clone().unwrap());
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        assert!(stty.args(["rows", &rows, "cols", &columns]).stdin(end).status().unwrap().success());
    }

    /// True while the program has the terminal: keys come one by one, and the screen is not the usual one.
    pub(crate) fn is_taken(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap();
        let is_raw = !modes.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO);
        is_raw && self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// True if the terminal is as a shell wants it: lines, an echo, the usual screen, and a cursor.
    pub(crate) fn is_given_back(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap();
        let has_lines = modes.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        let screen = self.screen.lock().unwrap();
        has_lines && !screen.screen().alternate_screen() && !screen.screen().hide_cursor()
    }

    /// The process.
    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.id()]).status().unwrap().success());
    }

    /// Waits for its end, and for the terminal to be given back; its exit code, or 128 and the signal.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> i32 {
        let status = wait_for("the end", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err(self.shown()),
        });
        wait_until("the terminal to be given back", || self.is_given_back());
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

fn lines(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a screen has room")
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
