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

/// Whose fault it is that there is no video.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The picture's.
    Picture,
    /// The prompt's.
    Prompt,
    /// That of something that was sent; the API does not tell what.
    Input,
    /// That of what was made; another seed makes something else.
    Output,
    /// The service's own.
    Service,
    /// The account's: its rights, its balance or its limits.
    Account,
    /// The pages contradict each other, or none names the code.
    Unclear,
}

impl Fault {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Prompt => "prompt",
            Self::Input => "input",
            Self::Output => "output",
            Self::Service => "service",
            Self::Account => "account",
            Self::Unclear => "unclear",
        }
    }
}

/// One row of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The number.
    pub code: BusinessCode,
    /// The stable word for reports and logs, snake_case.
    pub reason: Cow<'static, str>,
    /// What the API usually says with it, if a page tells. Not to be relied on: it differs from place to place.
    pub message: Option<&'static str>,
    /// Whose fault it is.
    pub fault: Fault,
    /// What we do about it.
    pub verdict: Verdict,
    /// What it means, a sentence for the report.
    pub meaning: Cow<'static, str>,
    /// What to do about it, a sentence for the report.
    pub advice: &'static str,
}

struct Row {
    code: u32,
    reason: &'static str,
    message: Option<&'static str>,
    fault: Fault,
    verdict: Verdict,
    meaning: &'static str,
    advice: &'static str,
}

const OTHER_PICTURE: &str = "Use another picture, then move the files back to the inbox.";
const OTHER_PROMPT: &str = "Reword the prompt in the sidecar, then move the files back to the inbox.";
const OTHER_OUTPUT: &str =
    "Change the prompt or the seed in the sidecar, or the picture, then move the files back to the inbox.";
const LATER: &str = "Move the files back to the inbox later; nothing is known to be wrong with them.";
const NOT_OURS: &str =
    "Move the files back to the inbox; if it fails again, ask the API's provider and quote the request_id.";
const ACCOUNT: &str = "Check the token and the balance at the API's provider, or ask it about the account; the pairs wait in the inbox and go on by themselves, at once after a reload.";

/// Ordered by code. Sources: the API's page (50412, 50413, 50500) and the upstream pages for the rest.
const TABLE: &[Row] = &[
    Row {
        code: 50_200,
        reason: "general_error",
        message: None,
        fault: Fault::Service,
        verdict: Verdict::Reject,
        meaning: "The API reported a general error and said nothing else.",
        advice: NOT_OURS,
    },
    // No page tells more, but this is no pair's fault: to reject it would be to reject the whole inbox.
    Row {
        code: 50_204,
        reason: "service_not_open",
        message: None,
        fault: Fault::Account,
        verdict: Verdict::PauseAccount,
        meaning: "The service is not switched on for the provider's account, or it is not known there.",
        advice: ACCOUNT,
    },
    // Clients saw it for a task that was not known yet, too, so a poll does not believe it at first.
    Row {
        code: 50_215,
        reason: "input_invalid_for_this_service",
        message: Some("Input invalid for this service."),
        fault: Fault::Input,
        verdict: Verdict::Reject,
        meaning: "The service could not use the picture or one of the values; in answer to a poll it may also mean that the task is lost.",
        advice: "Save the picture anew as an ordinary JPEG, or with image_urls check that anybody can fetch the address; then move the files back to the inbox.",
    },
    Row {
        code: 50_218,
        reason: "resource_exists_risk",
        message: Some("Resource exists risk"),
        fault: Fault::Picture,
        verdict: Verdict::Reject,
        meaning: "A check of the service refused the picture, so no video was made.",
        advice: OTHER_PICTURE,
    },
    Row {
        code: 50_400,
        reason: "access_denied",
        message: Some("Access Denied"),
        fault: Fault::Account,
        verdict: Verdict::PauseAccount,
        meaning: "The service refused the account behind the API: it has no right, has not paid, or is not switched on.",
        advice: ACCOUNT,
    },
    Row {
        code: 50_411,
        reason: "pre_img_risk_not_pass",
        message: Some("Pre Img Risk Not Pass"),
        fault: Fault::Picture,
        verdict: Verdict::Reject,
        meaning: "The picture did not pass moderation, so no video was made.",
        advice: OTHER_PICTURE,
    },
    Row {
        code: 50_412,
        reason: "text_risk_not_pass",
        message: Some("Text Risk Not Pass"),
        fault: Fault::Prompt,
        verdict: Verdict::Reject,
        meaning: "The prompt did not pass moderation, so no video was made.",
        advice: OTHER_PROMPT,
    },
    Row {
        code: 50_413,
        reason: "prompt_sensitive_words",
        message: Some("Post Text Risk Not Pass"),
        fault: Fault::Prompt,
        verdict: Verdict::Reject,
        meaning: "The prompt holds sensitive words or words under copyright, so no video was made.",
        advice: OTHER_PROMPT,
    },
    Row {
        code: 50_429,
        reason: "request_has_reached_api_limit",
        message: Some("Request Has Reached API Limit, Please Try Later"),
        fault: Fault::Account,
        verdict: Verdict::SlowDown,
        meaning: "The API was asked more often than it allows.",
        advice: "Nothing: it is asked more slowly for a while. If this is frequent, lower api.requests_per_second.",
    },
    Row {
        code: 50_430,
        reason: "request_has_reached_api_concurrent_limit",
        message: Some("Request Has Reached API Concurrent Limit, Please Try Later"),
        fault: Fault::Account,
        verdict: Verdict::Fewer,
        meaning: "The account has as many tasks under way as it may have.",
        advice: "Nothing: the pair waits for its turn.",
    },
    // The pages about videos advise to try again, those about pictures advise against it.
    Row {
        code: 50_500,
        reason: "internal_error",
        message: Some("Internal Error"),
        fault: Fault::Unclear,
        verdict: Verdict::NewSeed,
        meaning: "The service reported an internal error, or the video it made did not pass moderation: the API's pages give both reasons for this code.",
        advice: OTHER_OUTPUT,
    },
    // The pages about videos advise to try again, those about pictures advise against it.
    Row {
        code: 50_501,
        reason: "internal_rpc_error",
        message: Some("Internal RPC Error"),
        fault: Fault::Service,
        verdict: Verdict::NewSeed,
        meaning: "The service reported an internal error while it made the video.",
        advice: LATER,
    },
    Row {
        code: 50_511,
        reason: "post_img_risk_not_pass",
        message: Some("Post Img Risk Not Pass"),
        fault: Fault::Output,
        verdict: Verdict::NewSeed,
        meaning: "A picture of the video that was made did not pass moderation, so the video is held back.",
        advice: OTHER_OUTPUT,
    },
    // The one refused output that the pages advise not to try again.
    Row {
        code: 50_512,
        reason: "output_text_risk_not_pass",
        message: Some("Post Text Risk Not Pass"),
        fault: Fault::Output,
        verdict: Verdict::Reject,
        meaning: "A text that was made for the video did not pass moderation, so the video is held back.",
        advice: OTHER_PROMPT,
    },
    Row {
        code: 50_513,
        reason: "pre_video_risk_not_pass",
        message: Some("Pre Video Risk Not Pass"),
        fault: Fault::Input,
        verdict: Verdict::Reject,
        meaning: "The API says that a video it was given did not pass moderation, although it was given none.",
        advice: NOT_OURS,
    },
    Row {
        code: 50_514,
        reason: "pre_audio_risk_not_pass",
        message: Some("Pre Audio Risk Not Pass"),
        fault: Fault::Input,
        verdict: Verdict::Reject,
        meaning: "The API says that a sound it was given did not pass moderation, although it was given none.",
        advice: NOT_OURS,
    },
    Row {
        code: 50_516,
        reason: "post_video_risk_not_pass",
        message: Some("Post Video Risk Not Pass"),
        fault: Fault::Output,
        verdict: Verdict::NewSeed,
        meaning: "The video that was made did not pass moderation, so it is held back.",
        advice: OTHER_OUTPUT,
    },
    Row {
        code: 50_517,
        reason: "post_audio_risk_not_pass",
        message: Some("Post Audio Risk Not Pass"),
        fault: Fault::Output,
        verdict: Verdict::NewSeed,
        meaning: "The sound that was made did not pass moderation, so the video is held back.",
        advice: OTHER_OUTPUT,
    },
    Row {
        code: 50_518,
        reason: "pre_img_risk_not_pass_copyright",
        message: Some("Pre Img Risk Not Pass: Copyright"),
        fault: Fault::Picture,
        verdict: Verdict::Reject,
        meaning: "The picture matches one under copyright, so no video was made.",
        advice: OTHER_PICTURE,
    },
    Row {
        code: 50_519,
        reason: "post_img_risk_not_pass_copyright",
        message: Some("Post Img Risk Not Pass: Copyright"),
        fault: Fault::Output,
        verdict: Verdict::NewSeed,
        meaning: "A picture of the video that was made matches one under copyright, so the video is held back.",
        advice: OTHER_OUTPUT,
    },
    Row {
        code: 50_520,
        reason: "risk_internal_error",
        message: Some("Risk Internal Error"),
        fault: Fault::Service,
        verdict: Verdict::Reject,
        meaning: "The service that moderates had an internal error, so there is no video.",
        advice: LATER,
    },
    Row {
        code: 50_521,
        reason: "antidirt_internal_error",
        message: Some("Antidirt Internal Error"),
        fault: Fault::Service,
        verdict: Verdict::Reject,
        meaning: "The service that checks words for copyright had an internal error, so there is no video.",
        advice: LATER,
    },
    Row {
        code: 50_522,
        reason: "image_copyright_internal_error",
        message: Some("Image Copyright Internal Error"),
        fault: Fault::Service,
        verdict: Verdict::Reject,
        meaning: "The service that checks pictures for copyright had an internal error, so there is no video.",
        advice: LATER,
    },
];

/// Codes that stand for those without a row: what they are called, and one of them.
pub const UNKNOWN: [(&str, BusinessCode); 2] =
    [("other 505xx", BusinessCode(50_599)), ("any other", BusinessCode(59_999))];

/// The row of `code`, or one made for a code that no page names: 505xx may come out better with another seed, everything
/// else is final.
pub fn entry(code: BusinessCode) -> Entry {
    match row(code) {
        Some(row) => Entry {
            code,
            reason: Cow::Borrowed(row.reason),
            message: row.message,
            fault: row.fault,
            verdict: row.verdict,
            meaning: Cow::Borrowed(row.meaning),
            advice: row.advice,
        },
        None => Entry {
            code,
            reason: Cow::Owned(format!("{UNKNOWN_REASON}{code}")),
            message: None,
            fault: Fault::Unclear,
            verdict: if code.0 / 100 == 505 { Verdict::NewSeed } else { Verdict::Reject },
            meaning: Cow::Owned(format!(
                "The API answered with the business code {code}, which none of its pages explains."
            )),
            advice: "Read the message; if it does not help, ask the API's provider and quote the request_id.",
        },
    }
}

/// What the reason of a code without a row begins with, before its number.
const UNKNOWN_REASON: &str = "code_";

/// What `code` asks for.
pub fn verdict(code: BusinessCode) -> Verdict {
    entry(code).verdict
}

/// Whether `code` has a row of its own.
pub fn is_known(code: BusinessCode) -> bool {
    row(code).is_some()
}

/// Every code that has a row of its own, ascending.
pub fn known() -> impl Iterator<Item = BusinessCode> {
    TABLE.iter().map(|row| BusinessCode(row.code))
}

/// The code that `reason` is the word of.
pub fn with_reason(reason: &str) -> Option<BusinessCode> {
    let number = || reason.strip_prefix(UNKNOWN_REASON)?.parse().ok().map(BusinessCode);
    known().chain(number()).find(|code| entry(*code).reason == reason)
}

fn row(code: BusinessCode) -> Option<&'static Row> {
    TABLE.binary_search_by_key(&code.0, |row| row.code).ok().map(|at| &TABLE[at])
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
        }
    }

    #[test]
    fn every_fault_has_a_word_of_its_own() {
        use Fault::{Account, Input, Output, Picture, Prompt, Service, Unclear};
        let words: BTreeSet<_> =
            [Picture, Prompt, Input, Output, Service, Account, Unclear].into_iter().map(Fault::label).collect();
        assert_eq!(
            words.into_iter().collect::<Vec<_>>(),
            ["account", "input", "output", "picture", "prompt", "service", "unclear"]
        );
    }

    #[test]
    fn a_code_is_known_if_it_has_a_row() {
        assert!(known().all(is_known) && !is_known(BusinessCode(50_599)) && !is_known(BusinessCode::SUCCESS));
    }

    /// What people read: one or two sentences, which begin and end as such.
    #[test]
    fn meanings_and_advice_are_sentences() {
        for entry in known().chain(UNKNOWN.map(|(_, code)| code)).map(entry) {
            for sentence in [&*entry.meaning, entry.advice] {
                assert!(sentence.starts_with(char::is_uppercase) && sentence.ends_with('.'), "{sentence}");
                assert!(!sentence.contains("  ") && !sentence.contains(".."), "{sentence}");
            }
        }
    }

    #[test]
    fn each_code_has_its_fault_and_its_verdict() {
        use Fault::{Account, Input, Output, Picture, Prompt, Service, Unclear};
        use Verdict::{Fewer, NewSeed, PauseAccount, Reject, SlowDown};
        let expected = [
            (50_200, Service, Reject),
            (50_204, Account, PauseAccount),
            (50_215, Input, Reject),
            (50_218, Picture, Reject),
            (50_400, Account, PauseAccount),
            (50_411, Picture, Reject),
            (50_412, Prompt, Reject),
            (50_413, Prompt, Reject),
            (50_429, Account, SlowDown),
            (50_430, Account, Fewer),
            (50_500, Unclear, NewSeed),
            (50_501, Service, NewSeed),
            (50_511, Output, NewSeed),
            (50_512, Output, Reject),
            (50_513, Input, Reject),
            (50_514, Input, Reject),
            (50_516, Output, NewSeed),
            (50_517, Output, NewSeed),
            (50_518, Picture, Reject),
            (50_519, Output, NewSeed),
            (50_520, Service, Reject),
            (50_521, Service, Reject),
            (50_522, Service, Reject),
        ];
        let known: Vec<_> = known().map(entry).map(|entry| (entry.code.0, entry.fault, entry.verdict)).collect();
        assert_eq!(known, expected);
    }

    /// Whoever is sent away to mend something is told to mend what is at fault.
    #[test]
    fn advice_names_what_is_at_fault() {
        for entry in known().map(entry) {
            let word = match entry.fault {
                Fault::Picture => "picture",
                Fault::Prompt => "prompt",
                Fault::Output => "prompt",
                Fault::Input | Fault::Service | Fault::Account | Fault::Unclear => continue,
            };
            assert!(entry.advice.contains(word), "{}: {}", entry.code, entry.advice);
        }
    }

    #[test]
    fn an_unknown_code_keeps_its_number_and_has_a_verdict() {
        let cases = [
            (50_599, Verdict::NewSeed),
            (50_515, Verdict::NewSeed),
            (50_299, Verdict::Reject),
            (50_499, Verdict::Reject),
            (50_600, Verdict::Reject),
            (1, Verdict::Reject),
        ];
        for (number, verdict) in cases {
            let entry = entry(BusinessCode(number));
            assert_eq!((entry.verdict, entry.fault, entry.message), (verdict, Fault::Unclear, None), "{number}");
            assert_eq!(entry.reason, format!("code_{number}"));
            assert!(entry.meaning.contains(&number.to_string()), "{}", entry.meaning);
            assert!(!is_known(entry.code));
        }
    }

    #[test]
    fn a_reason_leads_back_to_its_code() {
        for code in known().chain([BusinessCode(50_599)]) {
            assert_eq!(with_reason(&entry(code).reason), Some(code));
        }
        for word in ["code_50412", "code_", "code_x", "code_050599", "in_doubt", ""] {
            assert_eq!(with_reason(word), None, "{word}");
        }
    }

    #[test]
    fn two_codes_with_one_text_are_told_apart() {
        let [before, after] = [50_413, 50_512].map(|number| entry(BusinessCode(number)));
        assert_eq!(before.message, after.message);
        assert_eq!([&*before.reason, &*after.reason], ["prompt_sensitive_words", "output_text_risk_not_pass"]);
    }
}
