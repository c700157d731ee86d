//! Rows 131-133, 136, 161, 162: whatever the input, a clear answer, and a service that lives on.

use super::{LIST, ask, asking, encode, hold};
use crate::support::Service;

/// The status of the answer to a request line that no client of the library would send.
async fn raw_status(service: &Service, query: &str) -> u16 {
    let request = format!("GET {LIST}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = service.raw(request.as_bytes()).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

async fn lives(service: &Service) {
    let answer = ask(service, "$filter", "status eq 'failed'").await.expect(200);
    assert_eq!(answer.json()["value"].as_array().map(Vec::len), Some(2));
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[tokio::test]
async fn row_131_nesting() {
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    for times in [20, 100] {
        hold(&[(&nested("(", "true", ")", times), &all)]).await;
    }
    let (service, _) = asking().await;
    for times in [101, 1_000, 8_000] {
        let error = ask(&service, "$filter", &nested("(", "true", ")", times)).await.error(400);
        assert_eq!(error["target"], "$filter", "{times}");
    }
    for query in [
        format!("$filter={}", nested("(", "true", ")", 100_000)),
        format!("$filter={}", "(".repeat(100_000)),
        format!("$orderby={}", nested("(", "name", ")", 100_000)),
        format!("$search={}", nested("(", "a", ")", 100_000)),
    ] {
        assert_eq!(raw_status(&service, &query).await, 414);
    }
    lives(&service).await;
}

#[tokio::test]
async fn row_132_chains_of_prefixes() {
    let (service, _) = asking().await;
    for times in [101, 500, 1_500] {
        for text in [
            nested("not ", "true", "", times),
            nested("- ", "1 eq 1", "", times),
            nested("tolower(", "name", ")", times) + " eq 'x'",
            format!("1{} eq 1", " add 1".repeat(times)),
        ] {
            let error = ask(&service, "$filter", &text).await.error(400);
            assert_eq!(error["target"], "$filter");
        }
    }
    assert_eq!(raw_status(&service, &format!("$filter={}x", "not+".repeat(100_000))).await, 414);
    lives(&service).await;
}

#[tokio::test]
async fn row_133_long_questions() {
    let (service, _) = asking().await;
    for (text, times, status) in [
        ("eq+", 20_000, 400),
        ("eq+", 22_000, 414),
        ("or+", 20_000, 400),
        ("%27", 20_000, 400),
        ("'", 60_000, 400),
        ("'", 70_000, 414),
        ("-", 200_000, 414),
        (",", 60_000, 400),
    ] {
        for option in ["$filter", "$orderby", "$select"] {
            let query = format!("{option}={}", text.repeat(times));
            assert_eq!(raw_status(&service, &query).await, status, "{option} {text} {times}");
        }
    }
    let list = format!("percentComplete in ({}1)", "1,".repeat(1_001));
    ask(&service, "$filter", &list).await.error(400);
    let long = format!("name eq '{}'", "x".repeat(16_000));
    ask(&service, "$filter", &long).await.expect(200);
    ask(&service, "$search", &"a ".repeat(5_000)).await.error(400);
    lives(&service).await;
}

#[tokio::test]
async fn row_136_bytes_that_are_no_text() {
    let (service, _) = asking().await;
    for bytes in
        ["%ED%A0%80", "%ED%BF%BF", "%C0%80", "%FF", "%F5%80%80%80", "%E4", "%", "%0", "%GG"]
    {
        for option in ["$filter", "$search", "$orderby", "$select", "$skiptoken", "$top"] {
            let query = format!("{option}=name+eq+'{bytes}'");
            assert_eq!(raw_status(&service, &query).await, 400, "{query}");
        }
    }
    for filter in [
        "name eq '\0'",
        "contains(name,'a\0')",
        "labels/any(l:l/key eq '\0')",
        "name in ('\0','x')",
        "context/seed eq '\0'",
        "labels/branch eq '\0'",
        "concat(name,'\0') eq 'x'",
        "matchesPattern(name,'\0')",
        "id eq '\0'",
    ] {
        let answer = ask(&service, "$filter", filter).await;
        assert!([200, 400].contains(&answer.status), "{filter:?}: {}", answer.text());
    }
    for (option, text) in
        [("$search", "\0"), ("$search", "\"\0\""), ("$orderby", "concat(name,'\0')")]
    {
        let answer = ask(&service, option, text).await;
        assert!([200, 400].contains(&answer.status), "{text:?}: {}", answer.text());
    }
    lives(&service).await;
}

#[tokio::test]
async fn row_136_injections() {
    let (service, _) = asking().await;
    for text in [
        "'; drop table operation; --",
        "name eq ''; drop table operation; --'",
        "name eq 'x'); drop table operation; --",
        "name eq 'x' union select 1",
        "name/**/eq/**/'x'",
        "pg_sleep(10) eq null",
        "labels/\"; drop table operation; -- eq 'x'",
        "$1 eq 1",
        "o.id eq 'x'",
    ] {
        for option in ["$filter", "$orderby", "$select"] {
            ask(&service, option, text).await.error(400);
        }
        let answer = ask(&service, "$search", text).await;
        assert!([200, 400].contains(&answer.status), "{text}: {}", answer.text());
    }
    lives(&service).await;
}

/// Names with the least and the greatest number of arguments.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("contains", 2, 2),
    ("startswith", 2, 2),
    ("endswith", 2, 2),
    ("length", 1, 1),
    ("indexof", 2, 2),
    ("substring", 2, 3),
    ("tolower", 1, 1),
    ("toupper", 1, 1),
    ("trim", 1, 1),
    ("concat", 2, 2),
    ("matchesPattern", 2, 2),
    ("year", 1, 1),
    ("month", 1, 1),
    ("day", 1, 1),
    ("hour", 1, 1),
    ("minute", 1, 1),
    ("second", 1, 1),
    ("fractionalseconds", 1, 1),
    ("date", 1, 1),
    ("time", 1, 1),
    ("now", 0, 0),
    ("totaloffsetminutes", 1, 1),
    ("mindatetime", 0, 0),
    ("maxdatetime", 0, 0),
    ("totalseconds", 1, 1),
    ("round", 1, 1),
    ("floor", 1, 1),
    ("ceiling", 1, 1),
    ("cast", 2, 2),
    ("isof", 2, 2),
];

#[tokio::test]
async fn row_162_every_function_with_a_wrong_number_of_arguments() {
    let (service, _) = asking().await;
    for (name, least, most) in FUNCTIONS {
        for count in (0..=5).filter(|count| count < least || count > most) {
            for argument in ["null", "name", "1"] {
                let text = format!("{name}({}) eq null", vec![argument; count].join(","));
                let error = ask(&service, "$filter", &text).await.error(400);
                assert_eq!(error["target"], "$filter", "{text}: {error}");
            }
        }
        for text in [format!("{name}("), format!("{name}(,)"), format!("{name} eq 1")] {
            ask(&service, "$filter", &text).await.error(400);
        }
    }
    for text in ["case()", "case(true)", "case(true:1,)", "labels/any(l)", "labels/any(:true)"] {
        ask(&service, "$filter", text).await.error(400);
    }
    lives(&service).await;
}

#[tokio::test]
async fn regular_expressions_are_bounded() {
    let (service, _) = asking().await;
    for pattern in ["(a+)+$", "(a|a)*b", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$", "a{1000}{1000}"]
    {
        let text = format!("matchesPattern(name,'{pattern}')");
        let answer = service.get(&format!("{LIST}?$filter={}", encode(&text))).await;
        assert!([200, 400].contains(&answer.status), "{pattern}: {}", answer.text());
    }
    for pattern in ["(", "[", "a{2,1}", "*", "\\", "(?<", "\\p{Nosuch}"] {
        ask(&service, "$filter", &format!("matchesPattern(name,'{pattern}')")).await.error(400);
    }
    lives(&service).await;
}
