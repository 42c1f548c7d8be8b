//! Words in square brackets that a prompt may hold to choose its own fate, so that people can play without a script.
//!
//! | word | what happens |
//! | --- | --- |
//! | `[50412]` | the submission is answered with that business code |
//! | `[50412 once]` | so is the first submission of that prompt and picture; the next one passes |
//! | `[poll 50500]` | the submission is accepted and paid; the task fails with that code |
//! | `[poll 50500 once]` | so does the first task of that prompt and picture; the next one passes |
//! | `[answer lost]` | accepted and paid, but the connection is closed instead of an answer |
//! | `[seconds 30]` | the task takes that long |
//!
//! Other words in brackets mean nothing. With several, each kind counts once, the first one.

use std::time::Duration;

/// Where a word makes an end of the prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Doom {
    /// The business code.
    pub(super) code: u32,
    /// Only the first time for that prompt and picture.
    pub(super) once: bool,
}

/// What a prompt asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Words {
    pub(super) submit: Option<Doom>,
    pub(super) poll: Option<Doom>,
    pub(super) answer_lost: bool,
    pub(super) seconds: Option<Duration>,
}

impl Words {
    /// Reads the words of a prompt.
    pub(super) fn of(prompt: &str) -> Self {
        let mut words = Self::default();
        let bracketed = prompt.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
        for (word, _) in bracketed {
            let parts: Vec<&str> = word.split_whitespace().collect();
            match parts.as_slice() {
                ["answer", "lost"] => words.answer_lost = true,
                ["seconds", number] => {
                    let seconds = number.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    words.seconds = words.seconds.or(seconds);
                }
                ["poll", rest @ ..] => words.poll = words.poll.or(doom(rest)),
                rest => words.submit = words.submit.or(doom(rest)),
            }
        }
        words
    }
}

fn doom(parts: &[&str]) -> Option<Doom> {
    let (code, once) = match parts {
        [code] => (code, false),
        [code, "once"] => (code, true),
        _ => return None,
    };
    match code.len() == 5 {
        true => code.parse().ok().map(|code| Doom { code, once }),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_read_wherever_they_stand() {
        let doom = |code, once| Some(Doom { code, once });
        let cases = [
            ("a cat", Words::default()),
            ("a cat [50412]", Words { submit: doom(50412, false), ..Words::default() }),
            ("[50430 once] a cat", Words { submit: doom(50430, true), ..Words::default() }),
            ("a [poll 50500] cat", Words { poll: doom(50500, false), ..Words::default() }),
            ("a [ poll  50500 once ] cat", Words { poll: doom(50500, true), ..Words::default() }),
            ("[answer lost]", Words { answer_lost: true, ..Words::default() }),
            ("[seconds 0.5]", Words { seconds: Some(Duration::from_millis(500)), ..Words::default() }),
            ("[seconds -1] [seconds many] [504] [50412 twice] [poll] [] [50412", Words::default()),
            (
                "[50412] [50413] [poll 50511]",
                Words { submit: doom(50412, false), poll: doom(50511, false), ..Words::default() },
            ),
        ];
        for (prompt, wanted) in cases {
            assert_eq!(Words::of(prompt), wanted, "{prompt}");
        }
    }
}
