//! Section G: `$filter`.

use super::{LIST, ask, asking, encode, hold, refused};

const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7];

#[tokio::test]
async fn row_121_every_operator_on_every_type() {
    hold(&[
        ("name eq 'alpha'", &[0]),
        ("name ne 'alpha'", &[1, 2, 3, 4, 5, 6, 7]),
        ("name gt 'held'", &[3, 6]),
        ("name ge 'held'", &[3, 4, 6]),
        ("name lt 'a'", &[1, 2]),
        ("name le 'a&b=c'", &[1, 2, 7]),
        ("percentComplete eq 100", &[0, 3]),
        ("percentComplete ne 100", &[1, 2, 4, 5, 6, 7]),
        ("percentComplete gt 0 and percentComplete lt 100", &[1, 2, 7]),
        ("stepCounts/TimedOut ge 1 or stepCounts/Running le -1", &[2]),
        ("createdDateTime gt 2020-01-01T00:00:00Z", ALL),
        ("createdDateTime lt 2020-01-01T00:00:00Z", &[]),
        ("attention eq true", &[4]),
        ("attention ne true and status eq 'running'", &[5]),
        ("(attention or status eq 'notstarted') and not paused", &[4, 6]),
    ])
    .await;
}

#[tokio::test]
async fn row_122_to_125_precedence() {
    hold(&[
        ("name eq 'alpha' or attention and paused", &[0]),
        ("(name eq 'alpha' or attention) and paused", &[]),
        ("not attention and status eq 'running'", &[5]),
        ("percentComplete gt 99 eq true", &[0, 3]),
        ("true eq percentComplete gt 99", &[0, 3]),
    ])
    .await;
}

#[tokio::test]
async fn row_126_to_128_not() {
    hold(&[
        ("not status eq 'running'", &[0, 1, 2, 3, 6, 7]),
        ("not status in ('running','failed')", &[0, 3, 6, 7]),
        ("not (attention)", &[0, 1, 2, 3, 5, 6, 7]),
        ("not(attention)", &[0, 1, 2, 3, 5, 6, 7]),
    ])
    .await;
}

#[tokio::test]
async fn row_129_arithmetic() {
    hold(&[
        ("percentComplete add 2 mul 3 eq 106", &[0, 3]),
        ("percentComplete sub 50 sub 20 eq 30", &[0, 3]),
        ("(percentComplete add 2) mul 3 eq 306", &[0, 3]),
        ("percentComplete div 2 eq 49", &[1, 2, 7]),
        ("percentComplete divby 2 eq 49.5", &[1, 2, 7]),
        ("percentComplete mod 2 eq 1 and -percentComplete lt 0", &[1, 2, 7]),
    ])
    .await;
}

#[tokio::test]
async fn row_130_a_chain_of_200_terms() {
    let chain = vec!["status eq 'failed'"; 200].join(" or ");
    hold(&[(&chain, &[1, 2])]).await;
}

#[tokio::test]
async fn row_134_to_138_strings_are_data() {
    hold(&[
        ("name eq 'O''Neil'", &[1]),
        ("name eq ''' or 1 eq 1 --'", &[]),
        ("name eq '''; drop table operation; --'", &[]),
        ("name eq '\\'", &[]),
        ("name eq '𝄞'", &[]),
        ("name eq 'a&b=c'", &[7]),
        ("contains(name,'%')", &[2]),
        ("contains(name,'_')", &[2]),
        ("contains(name,'\\')", &[2]),
        ("startswith(name,'%') or endswith(name,'_')", &[]),
        ("contains(name,'')", ALL),
        ("contains(labels/branch,'')", &[0, 1, 2, 4, 5, 6, 7]),
    ])
    .await;
    refused(&[
        ("name eq 'O'Neil'", "position"),
        ("name eq 'x", "position"),
        ("name eq \"x\"", "position"),
        ("'; drop table operation; --", "position"),
    ])
    .await;
    hold(&[("true", ALL)]).await;
}

#[tokio::test]
async fn row_139_to_145_null() {
    hold(&[
        ("labels/branch eq null", &[3]),
        ("labels/branch ne null", &[0, 1, 2, 4, 5, 6, 7]),
        ("error/code ne 'Other'", ALL),
        ("context/seed gt 4", &[0]),
        ("context/seed lt 4", &[]),
        ("not (context/seed gt 4)", &[1, 2, 3, 4, 5, 6, 7]),
        ("not contains(labels/branch,'a')", &[4, 5, 7]),
        ("labels/suite in ('unit',null)", ALL),
        ("labels/branch in ('dev',null)", &[3, 4, 5, 7]),
        ("labels/branch gt null", &[]),
        ("null eq null", ALL),
        ("null ne null", &[]),
        ("attention", &[4]),
        ("not attention", &[0, 1, 2, 3, 5, 6, 7]),
        ("context/flag", &[0]),
        ("not context/flag", &[]),
    ])
    .await;
}

#[tokio::test]
async fn row_146_to_148_paths() {
    hold(&[
        ("error/code eq 'StepFailed'", &[1, 2]),
        ("error/code eq null", &[0, 3, 4, 5, 6, 7]),
        ("error eq null", &[0, 3, 4, 5, 6, 7]),
        ("contains(error/message,'exit code 1')", &[1]),
        ("context/deep/er eq 'yes'", &[0]),
        ("cancellation ne null", &[7]),
    ])
    .await;
    refused(&[
        ("error/nosuch eq 1", "nosuch"),
        ("nosuch eq 1", "nosuch"),
        ("status/code eq 1", "code"),
        ("Status eq 'running'", "did you mean `status`"),
        ("result/x eq 1", "result"),
    ])
    .await;
}

#[tokio::test]
async fn row_149_150_case() {
    hold(&[
        ("status EQ 'running' AND name NE 'x'", &[4, 5]),
        ("CONTAINS(name,'us') Or FALSE", &[5]),
        ("TRUE", ALL),
        ("status eq 'Running'", &[4, 5]),
        ("state eq 'succeeded'", &[0, 3]),
        ("status eq 'canceled' and state eq 'Cancelled'", &[7]),
    ])
    .await;
    refused(&[("status eq 'runing'", "runing"), ("state in ('Running','x')", "x")]).await;
}

#[tokio::test]
async fn row_151_types_are_checked() {
    refused(&[
        ("percentComplete eq '50'", ""),
        ("status eq 1", ""),
        ("attention eq 1", ""),
        ("createdDateTime gt 'x'", ""),
        ("name gt 5", ""),
        ("name add 1 eq 2", ""),
    ])
    .await;
}

#[tokio::test]
async fn row_152_numbers() {
    hold(&[
        ("percentComplete eq 100.0", &[0, 3]),
        ("percentComplete eq 1e2", &[0, 3]),
        ("percentComplete eq +100", &[0, 3]),
        ("percentComplete gt -1", ALL),
    ])
    .await;
    for text in [".5", "5.", "0x10", "50L"] {
        refused(&[(&format!("percentComplete eq {text}"), "")]).await;
    }
}

#[tokio::test]
async fn row_153_154_155_dates() {
    hold(&[
        ("createdDateTime ge 2026-01-01T00:00:00Z", ALL),
        ("createdDateTime ge 2026-01-01T00:00:00.123Z", ALL),
        ("createdDateTime ge 2026-01-01T00:00:00+01:00", ALL),
        ("createdDateTime ge 2026-01-01", ALL),
        ("2026-01-01T01:00:00+01:00 eq 2026-01-01T00:00:00Z", ALL),
    ])
    .await;
    refused(&[
        ("createdDateTime ge 2026-01-01T00:00:00", ""),
        ("createdDateTime ge 2026-13-01T00:00:00Z", ""),
        ("createdDateTime ge 2026-02-31T00:00:00Z", ""),
        ("createdDateTime ge 2026-01-01T24:00:00Z", ""),
        ("createdDateTime ge 2026-02-31", ""),
    ])
    .await;
    // A raw plus arrives as a blank.
    let (service, _) = asking().await;
    let url = format!("{LIST}?$filter=createdDateTime+ge+2026-01-01T00:00:00+01:00");
    assert_eq!(service.get(&url).await.expect(200).json()["value"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn row_156_ids_are_strings() {
    let (_, world) = asking().await;
    let id = &world.ids[3];
    hold(&[
        (&format!("id eq '{id}'"), &[3]),
        (&format!("id eq '{}'", id.to_uppercase()), &[]),
        (&format!("id in ('{id}','{}')", world.ids[5]), &[3, 5]),
        ("id eq 'of another shape'", &[]),
        (&format!("id ge '{id}'"), &[3, 4, 5, 6, 7]),
    ])
    .await;
    refused(&[(&format!("id eq {id}"), "")]).await;
}

#[tokio::test]
async fn row_157_158_in() {
    hold(&[
        ("status in ('running','failed')", &[1, 2, 4, 5]),
        ("status in ('running')", &[4, 5]),
        ("status in ()", &[]),
        ("percentComplete in (0, 100)", &[0, 3, 4, 5, 6]),
    ])
    .await;
    refused(&[
        ("status in ('running',)", ""),
        ("status in (status,category)", ""),
        ("status in 'running'", ""),
        ("status in (1)", ""),
    ])
    .await;
}

#[tokio::test]
async fn row_159_160_lambdas() {
    hold(&[
        ("labels/any(l:l/key eq 'branch' and l/value eq 'main')", &[0, 1, 2, 6]),
        ("labels/any()", &[0, 1, 2, 4, 5, 6, 7]),
        ("labels/all(l:l/value eq 'main')", &[1, 2, 3, 6]),
        ("labels/$count eq 2", &[0]),
    ])
    .await;
    refused(&[
        ("any(l:l eq 'x')", ""),
        ("labels/all()", ""),
        ("tags/any(t:t eq 'x')", "tags"),
        ("name/any(n:n eq 'x')", ""),
    ])
    .await;
}

#[tokio::test]
async fn row_161_162_what_there_is_not() {
    refused(&[
        ("geo.distance(name,name) lt 1", "geo.distance"),
        ("status has 'running'", "has"),
        ("foo(name)", "foo"),
        ("contain(name,'x')", "contains"),
        ("contains(name)", "contains"),
        ("substring(name,1,2,3) eq 'x'", "substring"),
        ("substring(name,0,-1) eq 'x'", ""),
        ("percentComplete div 0 eq 1", ""),
        ("percentComplete mod 0 eq 1", ""),
        ("10 div (percentComplete sub percentComplete) eq 1", ""),
    ])
    .await;
}

#[tokio::test]
async fn row_163_functions_of_strings() {
    hold(&[
        ("length(name) eq 5", &[0, 3, 7]),
        ("tolower(name) eq 'ärger'", &[3]),
        ("toupper(name) eq 'ÄRGER' and toupper('ß') eq 'SS'", &[3]),
        ("indexof(name,'RG') eq 1", &[3]),
        ("substring(name,1) eq 'RGER'", &[3]),
        ("substring(name,1,2) eq 'us'", &[5]),
        ("trim(concat('  ',name)) eq 'busy'", &[5]),
        ("startswith(name,'a') and endswith(name,'c')", &[7]),
        ("matchesPattern(name,'^[a-z]{4,5}$')", &[0, 4, 5]),
    ])
    .await;
}

#[tokio::test]
async fn row_164_functions_of_time() {
    hold(&[
        ("createdDateTime gt now() sub duration'PT1H'", ALL),
        ("createdDateTime gt now() sub 'PT1H'", ALL),
        ("createdDateTime gt now()", &[]),
        ("date(createdDateTime) ge date(now() sub 'P1D') and year(createdDateTime) ge 2026", ALL),
        ("month(2026-02-03) eq 2 and day(2026-02-03T23:30:00-01:00) eq 4", ALL),
        ("hour(2026-02-03T23:30:15-01:00) eq 0 and second(12:30:15) eq 15", ALL),
        ("totalseconds(lastActionDateTime sub createdDateTime) lt 3600", ALL),
    ])
    .await;
}

#[tokio::test]
async fn row_165_to_167_slips() {
    for text in
        ["", " ", "eq", "status eq", "status = 'a'", "status eq 'running' garbage", "status", "5"]
    {
        refused(&[(text, "position")]).await;
    }
    hold(&[("true", ALL), (" true", ALL), ("\ttrue ", ALL), ("false", &[])]).await;
    let (service, _) = asking().await;
    let error = ask(&service, "$filter", "true and nmae eq 'x'").await.error(400);
    assert_eq!(error["code"], "UnknownProperty");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("position 9") && message.contains("did you mean `name`"), "{message}");
}

#[tokio::test]
async fn row_119_120_every_way_to_write_a_url() {
    let (service, world) = asking().await;
    for query in [
        "$filter=name%20eq%20'busy'",
        "$filter=name+eq+'busy'",
        "%24filter=name+eq+%27busy%27",
        "filter=name%20eq%20%27busy%27",
        "$FILTER=name+EQ+'busy'",
    ] {
        let page = service.get(&format!("{LIST}?{query}")).await.expect(200).json();
        assert_eq!(world.numbers(&page), [5], "{query}");
    }
    let query = "$filter=name%20eq%20'a%26b=c'&$top=3";
    let page = service.get(&format!("{LIST}?{query}")).await.expect(200).json();
    assert_eq!(world.numbers(&page), [7]);
    let twice = format!("{LIST}?$filter={}&filter=true", encode("true"));
    service.get(&twice).await.error(400);
}

#[tokio::test]
async fn a_question_of_the_purpose() {
    let (service, world) = asking().await;
    let filter = encode(
        "labels/branch eq 'main' and status eq 'failed' and createdDateTime gt now() sub duration'P1D' \
         and (state eq 'Timeout' or stepCounts/TimedOut gt 0)",
    );
    let url = format!("{LIST}?$filter={filter}&$orderby=createdDateTime+desc&$top=10");
    assert_eq!(world.numbers(&service.get(&url).await.expect(200).json()), [2]);
}
