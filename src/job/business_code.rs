//! The one table of the vendor's business codes, and what each means for a job.

use std::fmt;

/// A number the API answers with in `code`. 10000 is success.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BusinessCode(pub u32);

impl BusinessCode {
    /// The answer is good.
    pub const SUCCESS: BusinessCode = BusinessCode(10_000);
}

impl fmt::Display for BusinessCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
