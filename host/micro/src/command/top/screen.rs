//! The live table on a terminal, which is given back as it was, whatever ends it.

use super::rates::Sample;
use super::{Column, layout};
use crate::admin::HostError;
use crate::command::stop::Stop;
use anyhow::{Context as _, Result};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use futures::StreamExt as _;
use std::io::{self, Write as _};
use tokio::sync::mpsc;

/// What is shown.
struct View {
    sample: Option<Sample>,
    /// Why there is nothing newer.
    problem: Option<String>,
    sort: Column,
    /// The first row on the screen.
    from: usize,
}

/// What a key asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    End,
    Sort(Column),
    /// So many rows down, or up.
    Scroll(isize),
}

/// Shows samples as they come, until a key or a signal ends it.
pub(super) async fn show(
    mut news: mpsc::Receiver<Result<Sample, HostError>>,
    sort: Column,
    mut stop: Stop,
) -> Result<()> {
    let _screen = Screen::take()?;
    let mut events = EventStream::new();
    let mut view = View { sample: None, problem: None, sort, from: 0 };
    view.draw()?;
    loop {
        tokio::select! {
            sample = news.recv() => match sample {
                Some(Ok(sample)) => (view.sample, view.problem) = (Some(sample), None),
                // It may come again.
                Some(Err(error)) => view.problem = Some(error.to_string()),
                None => return Ok(()),
            },
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) => match wish(key) {
                    Some(Wish::End) => return Ok(()),
                    Some(Wish::Sort(column)) => view.sort = column,
                    Some(Wish::Scroll(rows)) => view.from = view.from.saturating_add_signed(rows),
                    None => continue,
                },
                // Another size, for one.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("read keys from the terminal"),
                None => return Ok(()),
            },
            () = stop.wait() => return Ok(()),
        }
        view.draw()?;
    }
}

fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::End,
        KeyCode::Char('q') | KeyCode::Esc => Wish::End,
        KeyCode::Char('n') => Wish::Sort(Column::Name),
        KeyCode::Char('c') => Wish::Sort(Column::Calls),
        KeyCode::Char('e') => Wish::Sort(Column::Errors),
        KeyCode::Char('p') => Wish::Sort(Column::P99),
        KeyCode::Char('r') => Wish::Sort(Column::Running),
        KeyCode::Char('w') => Wish::Sort(Column::Waiting),
        KeyCode::Char('m') => Wish::Sort(Column::Memory),
        KeyCode::Char('u') => Wish::Sort(Column::Cpu),
        KeyCode::Up => Wish::Scroll(-1),
        KeyCode::Down => Wish::Scroll(1),
        KeyCode::PageUp => Wish::Scroll(-20),
        KeyCode::PageDown => Wish::Scroll(20),
        KeyCode::Home => Wish::Scroll(isize::MIN),
        _ => return None,
    })
}

impl View {
    fn draw(&mut self) -> Result<()> {
        let (width, height) = terminal::size().context("ask for the size of the terminal")?;
        let lines = self.lines(width.into(), height.into());
        let mut out = io::stdout().lock();
        for (at, line) in (0..height).zip(lines.iter().map(String::as_str).chain(std::iter::repeat(""))) {
            queue!(out, MoveTo(0, at))?;
            let is_heading = at as usize + 1 == layout::HEAD && self.sample.is_some();
            if is_heading {
                queue!(out, SetAttribute(Attribute::Reverse), Print(line), SetAttribute(Attribute::Reset))?;
            } else {
                queue!(out, Print(line))?;
            }
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        out.flush()?;
        Ok(())
    }

    /// What fits on the screen.
    fn lines(&mut self, width: usize, height: usize) -> Vec<String> {
        let mut lines = match &self.sample {
            Some(sample) => layout::lines(sample, self.sort, width),
            None => vec!["the first numbers come after one interval; q ends".to_owned()],
        };
        if let (Some(problem), Some(first)) = (&self.problem, lines.first_mut()) {
            problem.clone_into(first);
        }
        if lines.len() > layout::HEAD {
            // The last row stays in sight.
            self.from = self.from.min(lines.len() - layout::HEAD - 1);
            lines.drain(layout::HEAD..layout::HEAD + self.from);
        }
        lines.truncate(height);
        lines.iter().map(|line| line.chars().take(width).collect()).collect()
    }
}

/// The terminal while it is ours: keys come at once and unseen, on a screen of its own.
struct Screen;

impl Screen {
    fn take() -> Result<Screen> {
        terminal::enable_raw_mode().context("take the terminal")?;
        let screen = Screen;
        // What a panic says would be lost with the screen that it is said on.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        execute!(io::stdout(), EnterAlternateScreen, Hide).context("take the terminal")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// A terminal that is gone cannot be given back.
fn give_back() {
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::super::rates::Row;
    use super::*;

    #[test]
    fn keys_do_what_the_help_says() {
        let key = |code| wish(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(key(KeyCode::Char('q')), Some(Wish::End));
        assert_eq!(wish(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Wish::End));
        assert_eq!(key(KeyCode::Char('c')), Some(Wish::Sort(Column::Calls)));
        assert_eq!(key(KeyCode::Char('x')), None);
    }

    #[test]
    fn what_is_shown_fits_the_screen_and_scrolls_to_the_last_row() {
        let deployments = (0..50).map(|at| Row { name: format!("row-{at:02}"), ..Row::default() }).collect();
        let sample = Sample { deployments, ..Sample::default() };
        let mut view = View { sample: Some(sample), problem: None, sort: Column::Name, from: 0 };
        let lines = view.lines(40, 10);
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| line.chars().count() <= 40) && lines[2].starts_with("row-00"), "{lines:?}");
        view.from = 1000;
        assert!(view.lines(80, 10)[2].starts_with("row-49"));
        view.problem = Some("no host answers".into());
        assert_eq!(view.lines(80, 10)[0], "no host answers");
    }
}
