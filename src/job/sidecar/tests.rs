//! Sidecars: places, limits, and texts at random. Every file of the fixtures is played from end to end by the integration tests.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn complaints(text: &str) -> Vec<String> {
    read(text.as_bytes(), true).expect_err(text).iter().map(ToString::to_string).collect()
}

fn sidecar(text: &str) -> Sidecar {
    read(text.as_bytes(), true).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

#[test]
fn a_sidecar_without_picture_or_address_is_told_so() {
    let found: Vec<String> =
        read(b"seed: 1\n", false).expect_err("half a pair").iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "no picture belongs to this sidecar; put a JPEG or PNG of the same name beside it, or name one address in \
             image_urls",
            "prompt: the prompt is missing; add a line such as prompt: A dog runs along the beach",
        ]
    );
}

#[test]
fn the_form_of_a_text_is_told_without_its_values() {
    let long = vec![b'a'; BYTES_MAX + 1];
    let nested = vec![b'['; 33];
    let cases: &[(&[u8], bool, bool)] = &[
        (b"prompt: cat\n", true, false),
        (b"prompt: 3\nseed: nonsense", true, false),
        (b"prompt: \"cat", false, false),
        (b"prompt: a: b", false, false),
        (b"prompt: \xE7\x8C", false, false),
        (b"prompt: a\nprompt: b", true, false),
        (b"image_urls: [https://a/b]", true, true),
        (b"image_urls: https://a/b", true, true),
        (b"image_urls: []", true, false),
        (b"image_urls:", true, false),
        (b"- a", true, false),
        (b"%TAG !a! b\n", true, false),
        (&long, true, false),
        (&nested, true, false),
    ];
    for (bytes, parses, names_address) in cases {
        let found = look(bytes, true);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert_eq!((found.parses, found.names_address), (*parses, *names_address), "{shown}");
    }
}

#[test]
fn places_are_the_parsers_own_in_every_style() {
    let cases = [
        ("prompt: a\nseed: x\n", 2, 7),
        ("{prompt: a, seed: x}", 1, 19),
        ("prompt: 猫😀\n\"seed\":   x\n", 2, 11),
        ("prompt: |\n  seed: y\n  a\nseed: x\n", 4, 7),
        ("# seed: y\nprompt: a\n? seed\n: x\n", 3 + 1, 3),
        ("\u{FEFF}seed: x\r\nprompt: a\r\n", 1, 7),
        ("{prompt: 猫, seed: x}", 1, 19),
        ("prompt: 'a\n\n  seed: y'\nseed:\n  x\n", 5, 3),
        ("prompt: a\u{2028}\u{85} b\nseed: x\n", 2, 7),
        ("prompt: a\rseed: x\r", 2, 7),
    ];
    for (text, line, column) in cases {
        let problems = read(text.as_bytes(), true).expect_err(text);
        let places: Vec<_> = problems.iter().map(|p| (p.key.as_deref(), p.line, p.column)).collect();
        assert_eq!(places, [(Some("seed"), Some(line), Some(column))], "{text}");
    }
}

#[test]
fn places_of_what_is_no_yaml_are_those_of_editors() {
    let cases = [
        // What is never closed is told where it was opened, which the parser says in lines of its own.
        ("seed: 1\u{85}prompt: \"a\npriority: 1\n", 1, 17),
        ("seed: 1\u{2028}priority: 2\u{2029}\nprompt: 'a\n", 2, 9),
        ("seed: 1\r\npriority: 2\rprompt: \"猫\r\n", 3, 9),
        ("prompt: a\r---\rprompt: b\r", 2, 1),
        ("prompt: a\u{85}---\nprompt: b\n", 1, 11),
        ("prompt: a\r\n\tseed: 1\r\npriority: 1\r\n", 2, 1),
        ("prompt: a\rseed:1\rpriority: 1\r", 2, 6),
    ];
    for (text, line, column) in cases {
        let problems = read(text.as_bytes(), true).expect_err(text);
        let places: Vec<_> = problems.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(Some(line), Some(column))], "{text:?}: {problems:?}");
    }
}

#[test]
fn the_parsers_lines_are_told_as_those_of_editors() {
    let place = |line, column| Place { line, column };
    let text = "a\u{85}b\r\nc\u{2028}\n";
    for (mark, expected) in [
        (place(1, 1), Some(place(1, 1))),
        (place(2, 1), Some(place(1, 3))),
        (place(3, 1), Some(place(2, 1))),
        (place(4, 1), Some(place(2, 3))),
        (place(5, 1), Some(place(3, 1))),
        (place(5, 2), None),
        (place(2, 9), None),
    ] {
        assert_eq!(place::place_of_mark(text, mark), expected, "{mark:?}");
    }
}

#[test]
fn a_mistake_is_looked_for_where_it_can_be() {
    let first = |text: &str| {
        let found = read(text.as_bytes(), true).expect_err(text);
        (found[0].line, found[0].message.clone())
    };
    let colon = "a colon with a space behind it stands inside a text without quotes".to_owned();
    let documents = "the file holds more than one YAML document".to_owned();
    let empty = "the value is empty".to_owned();
    let glued = "there is no space behind the colon".to_owned();
    let cases = [
        ("# note\n\nprompt:A dog\n", (Some(3), glued)),
        ("prompt: -5 dogs: x\n", (Some(1), colon.clone())),
        ("prompt: >\n  A dog\nseed: 1: 2\n", (Some(3), colon)),
        (" prompt: A dog\n\n# note\nseed: 4\n", (Some(4), "this line is indented by 0, the first one by 1".to_owned())),
        ("# a\n---\nprompt: a\n---\nprompt: b\n", (Some(4), documents.clone())),
        ("\n%YAML 1.1\n---\nprompt: a\n---\nprompt: b\n", (Some(5), documents)),
        ("prompt: a\nseed: # none\n", (Some(2), empty.clone())),
        ("prompt: a\nimage_urls: # later\n", (Some(2), empty)),
    ];
    for (text, expected) in cases {
        assert_eq!(first(text), expected, "{text:?}");
    }
}

#[test]
fn a_large_text_is_not_parsed_again_for_every_complaint() {
    let filler = format!("#{}\n", "x".repeat(BYTES_MAX / 2));
    let keys: String = (0..9).map(|n| format!("key{n}: 1\n")).collect();
    let placed = |text: &str| {
        let problems = read(text.as_bytes(), true).expect_err("unknown keys");
        problems.iter().filter(|problem| problem.line.is_some()).count()
    };
    assert_eq!(placed(&format!("{filler}{keys}prompt: A dog\n")), 1);
    assert_eq!(placed(&format!("{keys}prompt: A dog\n")), 9);
}

#[test]
fn what_an_address_keeps_to_itself_is_not_told() {
    for (address, told) in [
        ("https://example.com/a.jpg", "https://example.com/a.jpg\""),
        ("https://example.com/a.jpg?sig=hunter2", "https://example.com/a.jpg…\""),
        ("https://example.com/a.jpg#hunter2", "https://example.com/a.jpg…\""),
        ("https://hunter2@example.com/a.jpg", "https://…\""),
        ("see https://example.com/?hunter2", "see https://example.com/…\""),
        ("a ? in a text", "a ? in a text\""),
    ] {
        let found = complaints(&format!("prompt: A dog\nseed: '{address}'\n")).join("\n");
        assert!(found.contains(&format!("the text \"{told}")), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn a_key_is_proposed_only_if_it_is_near() {
    for (wrong, meant) in [
        ("sed", Some("seed")),
        ("xseed", Some("seed")),
        ("Promt", Some("prompt")),
        ("aspect-ratoi", Some("aspect_ratio")),
        ("prio", Some("priority")),
        ("xxseed", None),
        ("sd", None),
        ("pro", None),
        ("fps", None),
        ("", None),
    ] {
        assert_eq!(values::nearest_key(wrong), meant, "{wrong}");
    }
}

#[test]
fn values_at_the_edge_of_what_is_allowed() {
    assert_eq!(sidecar("prompt: A dog\nseed: \"0\"\n").seed, WantedSeed::Fixed(0));
    let address = |tail: &str| format!("prompt: A dog\nimage_urls: ['https://example.com{tail}']\n");
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - "https://example.com/".len()));
    for (tail, is_taken) in
        [(path(2048), true), (path(2049), false), (":1/a".to_owned(), true), (":0/a".to_owned(), false)]
    {
        let text = address(&tail);
        assert_eq!(read(text.as_bytes(), false).is_ok(), is_taken, "{text:.60}");
    }
    for ratio in ["0", "-1.78", ".inf", ".nan", "0:0", "16:0", "1e300"] {
        let found = complaints(&format!("prompt: A dog\naspect_ratio: {ratio}\n")).join("\n");
        assert!(found.contains("is no ratio that the API knows; write one of"), "{found}");
    }
}

#[test]
fn brackets_count_wherever_they_may_open_something() {
    let many = "[{".repeat(20);
    let is_counted = |text: &str| match look(text.as_bytes(), true).read {
        Ok(_) => false,
        Err(problems) => problems[0].message.contains("opening brackets"),
    };
    for free in [
        "#M\nprompt: a",
        "prompt: a #M",
        "prompt: a\t#M\n",
        "prompt: a\u{85}#M\r",
        "prompt: a # b #M",
        "prompt: 'a' #M",
    ] {
        let text = free.replace('M', &many);
        assert!(!is_counted(&text), "{text:?}");
        assert_eq!(sidecar(&text).prompt, "a", "{text:?}");
    }
    for counted in [
        "prompt: M",
        "prompt: a#M",
        "\"a # b\": M",
        "'a # b': M",
        "\"a\n # b\": M",
        "# a\nprompt: M",
        "# a\rprompt: M",
        "# a\u{2028}prompt: M",
    ] {
        assert!(is_counted(&counted.replace('M', &many)), "{counted:?}");
    }
}

#[test]
fn complaints_stand_in_the_order_of_the_lines() {
    let problems = read(b"sed: 1\nseed: x\nprompt:\naspect_ratio: 7\nfps: 1\n", false).expect_err("many mistakes");
    let lines: Vec<_> = problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [Some(1), Some(2), Some(3), Some(4), Some(5), None]);
}

#[test]
fn a_flood_of_unknown_keys_is_counted() {
    let text: String = (0..5000).map(|n| format!("key{n}: 1\n")).collect();
    let found = complaints(&format!("{text}prompt: A dog\n"));
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], "4980 more keys are unknown or repeated; remove them");
}

#[test]
fn a_file_over_the_limit_is_not_parsed() {
    let text = format!("prompt: A dog\n#{}", "x".repeat(BYTES_MAX));
    assert_eq!(
        complaints(&text),
        ["the file has more than the 65536 bytes that a sidecar may have; keep only the keys of a sidecar in it"]
    );
    let fits = format!("prompt: A dog\n#{}", "x".repeat(BYTES_MAX - 15));
    assert_eq!(sidecar(&fits).prompt, "A dog");
}

#[test]
fn references_cannot_blow_up_memory() {
    let long = "x".repeat(20_000);
    let list = "  - *a\n".repeat(5_000);
    let keys: String = (0..3_000).map(|n| format!("k{n}: *a\n")).collect();
    let repeated = "seed: *a\n".repeat(3_000);
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                  d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nimage_urls: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nprompt: x\n";
    for text in [
        format!("priority: &a {long}\nimage_urls:\n{list}"),
        format!("priority: &a {long}\n{keys}"),
        format!("priority: &a {long}\n{repeated}"),
        laughs.to_owned(),
    ] {
        assert!(!complaints(&text).is_empty());
    }
}

#[test]
fn the_request_takes_what_the_sidecar_left_open() {
    let open = sidecar("prompt: A dog\naspect_ratio: auto\n");
    let request = open.request(Some((3000, 4000)), 7);
    assert_eq!((request.aspect_ratio, request.seed), (AspectRatio::R3x4, Seed::Drawn(7)));
    assert_eq!(open.request(None, 7).aspect_ratio, AspectRatio::R16x9);

    let fixed = sidecar("prompt: A dog\naspect_ratio: 1:1\nseed: 7\n").request(Some((3000, 1000)), 9);
    assert_eq!((fixed.aspect_ratio, fixed.seed, fixed.image_url), (AspectRatio::R1x1, Seed::Fixed(7), None));
    assert_eq!(sidecar("prompt: A dog\nseed: -1\n").request(None, 9).seed, Seed::Api);

    let address = read(b"prompt: A dog\nimage_urls: [https://example.com/a.jpg]\n", false).expect("a whole job");
    assert_eq!(address.request(None, 9).image_url.as_deref(), Some("https://example.com/a.jpg"));
}

#[test]
fn the_shipped_example_is_a_good_sidecar() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.yaml");
    let bytes = std::fs::read(&path).expect("the example is shipped");
    let sidecar = read(&bytes, true).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(sidecar.aspect_ratio, WantedRatio::Fixed(AspectRatio::R9x16));
    assert_eq!(sidecar.seed, WantedSeed::Fixed(42));
}

#[test]
fn no_address_is_repeated_in_a_complaint_about_it() {
    let text = "prompt: A dog\nimage_urls: ['https://user:hunter2@example.com/a?sig=hunter2']\n";
    assert!(complaints(text).iter().all(|found| !found.contains("hunter2")));
}

proptest! {
    #[test]
    fn a_prompt_of_allowed_length_stays_as_it_is(prompt in "[^\\p{C}\\p{Z}]{1,75}( [^\\p{C}\\p{Z}]{1,70})?") {
        let quoted = serde_json::to_string(&prompt).expect("a text is JSON");
        prop_assert_eq!(&sidecar(&format!("prompt: {quoted}\n")).prompt, &prompt);
    }

    #[test]
    fn arbitrary_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), has: bool) {
        let _judged = read(&bytes, has);
    }

    #[test]
    fn arbitrary_lines_are_judged_without_a_panic_and_with_places_in_the_text(
        text in "((prompt|seed|aspect_ratio|image_urls|x)(: |:)?[-\\[\\]{}&*!|>'\"%@`#, \ta猫😀1:~?]{0,8}\r?\n){0,5}",
    ) {
        // The same places, told by the parser's lines: these texts hold no line end that only YAML knows.
        if let Err(error) = serde_yaml::from_str::<serde_yaml::Value>(&text)
            && let (Some(own), Some(place)) = (error.location(), place::place_of_error(&text, &error))
        {
            prop_assert_eq!((own.line() as u64, own.column() as u64), (place.line, place.column));
        }
        for problem in read(text.as_bytes(), true).err().unwrap_or_default() {
            let lines = text.split('\n').count() as u64;
            prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem} in {text:?}");
        }
    }
}
