//! The one table of the vendor's business codes, and what each means for a job.
//!
//! Codes, messages and official advice are those of the vendor's pages; where they contradict each other the entry says so.
//! A code is judged by its number alone, because several share one text. A code that is in no row gets a row made for it by
//! [`entry`]: nothing the API may answer is without a meaning, an advice and a verdict.

use std::borrow::Cow;
use std::fmt;

/// A number the API answers with in `code`. 10000 is success.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BusinessCode(pub u32);

impl BusinessCode {
    /// The answer is good.
    pub const SUCCESS: BusinessCode = BusinessCode(10_000);
    /// The input does not fit the service; right after a submission also: the task is not known yet.
    pub const INPUT_INVALID: BusinessCode = BusinessCode(50_215);
    /// The reseller's own key is refused.
    pub const ACCESS_DENIED: BusinessCode = BusinessCode(50_400);
    /// Too many requests a second.
    pub const TOO_FAST: BusinessCode = BusinessCode(50_429);
    /// Too many tasks at once.
    pub const TOO_MANY: BusinessCode = BusinessCode(50_430);
}

impl fmt::Display for BusinessCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a code asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The job fails: the same again would be refused again.
    Reject,
    /// Another attempt with another seed may come out well; without one left the job fails.
    NewSeed,
    /// Ask more slowly. Neither an attempt nor a failure.
    SlowDown,
    /// Have fewer tasks in flight. Neither an attempt nor a failure.
    Fewer,
    /// Nothing of this job's: the account is not let in.
    PauseAccount,
}

/// One row of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The number.
    pub code: BusinessCode,
    /// The stable word for reports and logs, snake_case.
    pub reason: Cow<'static, str>,
    /// What it means, a sentence for the report.
    pub meaning: Cow<'static, str>,
    /// What to do about it, a sentence for the report.
    pub advice: Cow<'static, str>,
    /// What we do about it.
    pub verdict: Verdict,
}

struct Row {
    code: u32,
    reason: &'static str,
    meaning: &'static str,
    advice: &'static str,
    verdict: Verdict,
}

const OTHER_PICTURE: &str = "Use another picture, then move both files back to the inbox.";
const OTHER_PROMPT: &str = "Reword the prompt in the sidecar, then move both files back to the inbox.";
const OTHER_OUTPUT: &str =
    "Change the prompt or the seed in the sidecar, or the picture, then move both files back to the inbox.";
const LATER: &str = "Nothing is wrong with the files: move them back to the inbox later.";
const ACCOUNT: &str = "Ask the API's provider about the account, then move both files back to the inbox.";

/// Ordered by code. Sources: the API's page (50412, 50413, 50500) and the upstream pages for the rest.
const TABLE: &[Row] = &[
    Row {
        code: 50_200,
        reason: "general_error",
        meaning: "The API reported a general error.",
        advice: LATER,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_204,
        reason: "service_not_open",
        meaning: "The service is not switched on for the provider's account, or it is unknown there.",
        advice: ACCOUNT,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_215,
        reason: "input_invalid_for_this_service",
        meaning: "The service could not use the picture or one of the values.",
        advice: "Check that the picture opens and is not unusual in size or colour model, then move both files back to the inbox.",
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_218,
        reason: "resource_exists_risk",
        meaning: "The picture was refused by a check of the service.",
        advice: OTHER_PICTURE,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_400,
        reason: "access_denied",
        meaning: "The service refused the account behind the API: no right, not paid, or not switched on.",
        advice: ACCOUNT,
        verdict: Verdict::PauseAccount,
    },
    Row {
        code: 50_411,
        reason: "pre_img_risk_not_pass",
        meaning: "The picture did not pass moderation, so no video was made.",
        advice: OTHER_PICTURE,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_412,
        reason: "text_risk_not_pass",
        meaning: "The prompt did not pass moderation, so no video was made.",
        advice: OTHER_PROMPT,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_413,
        reason: "prompt_sensitive_words",
        meaning: "The prompt holds sensitive words or words under copyright, so no video was made.",
        advice: OTHER_PROMPT,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_429,
        reason: "request_has_reached_api_limit",
        meaning: "The API was asked more often than it allows.",
        advice: "Lower api.requests_per_second if this is frequent.",
        verdict: Verdict::SlowDown,
    },
    Row {
        code: 50_430,
        reason: "request_has_reached_api_concurrent_limit",
        meaning: "The account already has as many tasks in flight as it may have.",
        advice: "Nothing to do: the job waits for its turn.",
        verdict: Verdict::Fewer,
    },
    Row {
        code: 50_500,
        reason: "internal_error",
        meaning: "The service reported an internal error, or the video it made did not pass moderation: the API's pages give both reasons for this code.",
        advice: OTHER_OUTPUT,
        verdict: Verdict::NewSeed,
    },
    Row {
        code: 50_501,
        reason: "internal_rpc_error",
        meaning: "The service reported an internal error while it made the video.",
        advice: LATER,
        verdict: Verdict::NewSeed,
    },
    Row {
        code: 50_511,
        reason: "post_img_risk_not_pass",
        meaning: "A picture of the video that was made did not pass moderation.",
        advice: OTHER_OUTPUT,
        verdict: Verdict::NewSeed,
    },
    Row {
        code: 50_512,
        reason: "output_text_risk_not_pass",
        meaning: "A text that was made for the video did not pass moderation.",
        advice: OTHER_PROMPT,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_513,
        reason: "pre_video_risk_not_pass",
        meaning: "A video given as input did not pass moderation; this service takes none, so this answer is unusual.",
        advice: OTHER_PICTURE,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_514,
        reason: "pre_audio_risk_not_pass",
        meaning: "A sound given as input did not pass moderation; this service takes none, so this answer is unusual.",
        advice: OTHER_PICTURE,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_516,
        reason: "post_video_risk_not_pass",
        meaning: "The video that was made did not pass moderation.",
        advice: OTHER_OUTPUT,
        verdict: Verdict::NewSeed,
    },
    Row {
        code: 50_517,
        reason: "post_audio_risk_not_pass",
        meaning: "The sound that was made did not pass moderation.",
        advice: OTHER_OUTPUT,
        verdict: Verdict::NewSeed,
    },
    Row {
        code: 50_518,
        reason: "pre_img_risk_not_pass_copyright",
        meaning: "The picture matches one under copyright, so no video was made.",
        advice: OTHER_PICTURE,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_519,
        reason: "post_img_risk_not_pass_copyright",
        meaning: "A picture of the video that was made matches one under copyright.",
        advice: OTHER_OUTPUT,
        verdict: Verdict::NewSeed,
    },
    Row {
        code: 50_520,
        reason: "risk_internal_error",
        meaning: "The moderation service had an internal error.",
        advice: LATER,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_521,
        reason: "antidirt_internal_error",
        meaning: "The service that checks words for copyright had an internal error.",
        advice: LATER,
        verdict: Verdict::Reject,
    },
    Row {
        code: 50_522,
        reason: "image_copyright_internal_error",
        meaning: "The service that checks pictures for copyright had an internal error.",
        advice: LATER,
        verdict: Verdict::Reject,
    },
];

/// The row of `code`, or one made for a code that no page names: 505xx may come out better with another seed, everything
/// else is final.
pub fn entry(code: BusinessCode) -> Entry {
    match TABLE.binary_search_by_key(&code.0, |row| row.code) {
        Ok(at) => Entry {
            code,
            reason: Cow::Borrowed(TABLE[at].reason),
            meaning: Cow::Borrowed(TABLE[at].meaning),
            advice: Cow::Borrowed(TABLE[at].advice),
            verdict: TABLE[at].verdict,
        },
        Err(_) => Entry {
            code,
            reason: Cow::Owned(format!("code_{code}")),
            meaning: Cow::Owned(format!(
                "The API answered with the business code {code}, which none of its pages explains."
            )),
            advice: Cow::Borrowed(
                "Read the message; if it does not help, ask the API's provider and quote the request_id.",
            ),
            verdict: if code.0 / 100 == 505 { Verdict::NewSeed } else { Verdict::Reject },
        },
    }
}

/// What `code` asks for.
pub fn verdict(code: BusinessCode) -> Verdict {
    entry(code).verdict
}

/// Every code that has a row of its own, ascending.
pub fn known() -> impl Iterator<Item = BusinessCode> {
    TABLE.iter().map(|row| BusinessCode(row.code))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_ordered_and_reasons_are_unique_words() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
        let reasons: BTreeSet<_> = TABLE.iter().map(|row| row.reason).collect();
        assert_eq!(reasons.len(), TABLE.len());
        for row in TABLE {
            assert!(row.reason.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", row.reason);
            assert!(row.meaning.ends_with('.') && row.advice.ends_with('.'), "{}", row.code);
        }
    }

    #[test]
    fn verdicts_are_those_of_the_pages() {
        use Verdict::{Fewer, NewSeed, PauseAccount, Reject, SlowDown};
        let expected = [
            (50_200, Reject),
            (50_204, Reject),
            (50_215, Reject),
            (50_218, Reject),
            (50_400, PauseAccount),
            (50_411, Reject),
            (50_412, Reject),
            (50_413, Reject),
            (50_429, SlowDown),
            (50_430, Fewer),
            (50_500, NewSeed),
            (50_501, NewSeed),
            (50_511, NewSeed),
            (50_512, Reject),
            (50_513, Reject),
            (50_514, Reject),
            (50_516, NewSeed),
            (50_517, NewSeed),
            (50_518, Reject),
            (50_519, NewSeed),
            (50_520, Reject),
            (50_521, Reject),
            (50_522, Reject),
        ];
        let known: Vec<_> = known().map(|code| (code.0, verdict(code))).collect();
        assert_eq!(known, expected);
    }

    #[test]
    fn an_unknown_code_keeps_its_number_and_has_a_verdict() {
        assert_eq!(entry(BusinessCode(50_599)).reason, "code_50599");
        assert_eq!(verdict(BusinessCode(50_599)), Verdict::NewSeed);
        assert_eq!(verdict(BusinessCode(50_299)), Verdict::Reject);
        assert_eq!(verdict(BusinessCode(1)), Verdict::Reject);
    }

    #[test]
    fn two_codes_with_one_text_are_told_apart() {
        assert_eq!(entry(BusinessCode(50_413)).reason, "prompt_sensitive_words");
        assert_eq!(entry(BusinessCode(50_512)).reason, "output_text_risk_not_pass");
    }
}
