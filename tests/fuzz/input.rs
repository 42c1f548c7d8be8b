//! How the targets take an input apart, and what they ask of every complaint.
//!
//! An input is a few bytes that choose, and then the text or file itself, so that a seed can be read and a dictionary helps.

use jimengd::job::Problem;

/// Stands around the piece that [`repeated`] repeats. No YAML and no JSON holds it.
const MARK: u8 = 1;

/// Characters that a complaint has at most, its proposal included; people read it.
const COMPLAINT_CHARS_MAX: usize = 2_000;

/// What is left of an input. Where nothing is left there are zeros, so that every input means something.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes as a number.
    pub fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// The next `count` bytes, or fewer.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left: as it is, or blown up as [`repeated`] says.
    pub fn text(self, repeat: bool, bytes_max: usize) -> Vec<u8> {
        if repeat { repeated(self.0, bytes_max) } else { self.0.to_vec() }
    }
}

/// `head MARK piece MARK tail` with the piece repeated until there are `bytes_max` bytes. What costs time beyond measure in the
/// length of a text is seldom found by inputs that have to be long themselves.
fn repeated(text: &[u8], bytes_max: usize) -> Vec<u8> {
    let mut parts = text.splitn(3, |&byte| byte == MARK);
    let [head, piece, tail] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let times = bytes_max.saturating_sub(head.len() + tail.len()).checked_div(piece.len()).unwrap_or(0);
    [head, &piece.repeat(times), tail].concat()
}

/// `whole` in pieces whose sizes the input chooses; in one piece if it chooses none.
pub fn pieces<'a>(sizes: &'a [u8], whole: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = whole;
    let mut turn = 0;
    std::iter::from_fn(move || {
        let size = sizes.get(turn % sizes.len().max(1)).map_or(rest.len(), |&size| match size {
            0..128 => usize::from(size) + 1,
            128.. => usize::from(size - 127) * 100,
        });
        turn += 1;
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Asks of complaints about `text` what people expect of them: there is one, each can be read on a line, and leads into the text.
pub fn assert_helpful(problems: &[Problem], text: &str) {
    assert!(!problems.is_empty(), "refused without a complaint");
    let lines: Vec<&str> = lines(text.strip_prefix('\u{FEFF}').unwrap_or(text));
    for problem in problems {
        assert!(!problem.message.trim().is_empty(), "nothing is said: {problem:?}");
        let shown = problem.to_string();
        assert!(shown.chars().count() <= COMPLAINT_CHARS_MAX, "a long complaint: {problem:?}");
        assert!(!shown.contains(char::is_control), "a complaint of more than a line: {problem:?}");
        assert!(problem.proposal.as_ref().is_none_or(|text| !text.trim().is_empty()), "proposes nothing: {problem:?}");
        match (problem.line, problem.column) {
            (Some(line), Some(column)) => {
                let there = line.checked_sub(1).and_then(|at| lines.get(at as usize));
                let length = there.unwrap_or_else(|| panic!("no such line: {problem:?}")).chars().count() as u64;
                assert!((1..=length + 1).contains(&column), "no such column: {problem:?}");
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => panic!("half a place: {problem:?}"),
        }
    }
}

/// The lines of a text as editors show them.
fn lines(text: &str) -> Vec<&str> {
    // Only before \n is \r a part of the same end.
    text.split_inclusive('\n')
        .flat_map(|line| line.strip_suffix("\r\n").or(line.strip_suffix('\n')).unwrap_or(line).split('\r'))
        .chain(text.is_empty().then_some("").or(text.ends_with('\n').then_some("")))
        .collect()
}
