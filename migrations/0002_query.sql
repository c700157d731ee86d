-- What the lowering of the query language (src/store/lower) calls.
--
-- Functions with the prefix `odata_` give PostgreSQL the meaning that the language has where the
-- two differ; the others compute properties of an operation from its packed row. A duration is a
-- bigint of microseconds.

-- The full Unicode mappings where the server has ICU; else those of the locale of the database,
-- which for the locale C leave everything beyond ASCII as it is.
do $$
declare
    rules text := case when exists (select from pg_collation where collname = 'und-x-icu')
                       then ' collate "und-x-icu"' else '' end;
begin
    execute format('create function odata_lower(value text) returns text
        language sql immutable strict parallel safe return lower(value%s)', rules);
    execute format('create function odata_upper(value text) returns text
        language sql immutable strict parallel safe return upper(value%s)', rules);
end $$;

-- Stands for a constant part of an expression that has no value: fails when it is reached.
create function odata_fail(code text) returns text
    language plpgsql volatile parallel safe as $$
begin
    raise exception 'a part of the expression has no value' using errcode = code;
end $$;

create function odata_endswith(value text, tail text) returns boolean
    language sql immutable strict parallel safe
    return right(value, length(tail)) = tail and length(value) >= length(tail);

create function odata_substring(value text, start bigint) returns text
    language sql immutable strict parallel safe
    return substr(value, least(greatest(start, 0), 2147483646)::integer + 1);

create function odata_substring(value text, start bigint, size bigint) returns text
    language sql immutable strict parallel safe
    return substr(value, least(greatest(start, 0), 2147483646)::integer + 1,
                  least(greatest(size, 0), 2147483647)::integer);

-- Halves away from zero.
create function odata_round(value double precision) returns double precision
    language sql immutable strict parallel safe
    return trunc(value) + case when abs(value - trunc(value)) >= 0.5 then sign(value) else 0 end;

-- The whole part as an integer, null where it does not fit.
create function odata_integer(value double precision) returns bigint
    language sql immutable strict parallel safe
    return case when trunc(value) >= -9223372036854775808 and trunc(value) < 9223372036854775808
                then trunc(value)::bigint end;

create function odata_micros(moment timestamptz) returns bigint
    language sql immutable strict parallel safe
    return (extract(epoch from moment) * 1000000)::bigint;

create function odata_date(moment timestamptz) returns date
    language sql immutable strict parallel safe
    return (moment at time zone 'UTC')::date;

create function odata_time(moment timestamptz) returns time
    language sql immutable strict parallel safe
    return (moment at time zone 'UTC')::time;

create function odata_instant(day date) returns timestamptz
    language sql immutable strict parallel safe
    return day::timestamp at time zone 'UTC';

-- An instant and a duration, the sign of which is that of `direction`.
create function odata_shift(moment timestamptz, direction integer, micros bigint)
    returns timestamptz
    language plpgsql immutable strict parallel safe as $$
declare
    span interval := make_interval(hours => (micros / 3600000000)::integer,
                                   secs => (micros % 3600000000) / 1e6);
    moved timestamptz := case when direction < 0 then moment - span else moment + span end;
begin
    if moved < '0001-01-01T00:00:00Z' or moved >= '10000-01-01T00:00:00Z' then
        raise exception 'outside the years 0001 to 9999' using errcode = '22008';
    end if;
    return moved;
end $$;

-- Texts in the literal form of a type as that type; null for any other text.
create function odata_text_boolean(value text) returns boolean
    language sql immutable strict parallel safe
    return case lower(value collate "C") when 'true' then true when 'false' then false end;

create function odata_text_integer(value text) returns bigint
    language sql immutable strict parallel safe
    return case when value ~ '^[+-]?0*[0-9]{1,19}$'
                then (select case when n between -9223372036854775808 and 9223372036854775807
                                  then n::bigint end
                      from (select value::numeric as n offset 0) as parsed)
           end;

create function odata_text_double(value text) returns double precision
    language plpgsql immutable strict parallel safe as $$
begin
    if value ~ '^[+-]?[0-9]+$' then
        return odata_text_integer(value)::double precision;
    end if;
    if value !~ '^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$' then
        return null;
    end if;
    return value::double precision;
exception when numeric_value_out_of_range then
    -- Too small is zero, too large is nothing.
    return case when value ~ '[eE]-' or value ~ '^[+-]?0+[.][0-9]+$' then 0 end;
end $$;

create function odata_text_date(value text) returns date
    language plpgsql immutable strict parallel safe as $$
begin
    if value !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' then
        return null;
    end if;
    return make_date(left(value, 4)::integer, substr(value, 6, 2)::integer,
                     right(value, 2)::integer);
exception when datetime_field_overflow then
    return null;
end $$;

create function odata_text_time(value text) returns time
    language sql immutable strict parallel safe
    return case when value ~ '^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,12})?)?$'
                then left(value, 15)::time end;

create function odata_text_instant(value text) returns timestamptz
    language plpgsql immutable strict parallel safe as $$
declare
    parts text[] := regexp_match(value,
        '^([0-9-]{10})[Tt]([0-9:.]{5,21})(?:[Zz]|([-+ ])([01][0-9]|2[0-3]):([0-5][0-9]))$');
    shift interval := make_interval(hours => coalesce(parts[4], '0')::integer,
                                    mins => coalesce(parts[5], '0')::integer);
    moment timestamptz := (odata_text_date(parts[1]) + odata_text_time(parts[2]))
        at time zone 'UTC';
begin
    moment := case when parts[3] = '-' then moment + shift else moment - shift end;
    return case when moment >= '0001-01-01T00:00:00Z' and moment < '10000-01-01T00:00:00Z'
                then moment end;
end $$;

create function odata_text_duration(value text) returns bigint
    language plpgsql immutable strict parallel safe as $$
declare
    parts text[] := regexp_match(upper(value collate "C"), '^([-+]?)P(?:([0-9]+)D)?(?:T(?=[0-9])'
        '(?:([0-9]+)(?:[.]0{1,6}|[.]0{6}[0-9]{1,6})?H)?(?:([0-9]+)(?:[.]0{1,6}|[.]0{6}[0-9]{1,6})?M)?'
        '(?:([0-9]+)(?:[.]([0-9]{1,12}))?S)?)?$');
    micros numeric;
begin
    if parts is null or right(value, 1) in ('P', 'p', 'T', 't') then
        return null;
    end if;
    micros := 1000000 * (coalesce(parts[2], '0')::numeric * 86400
                         + coalesce(parts[3], '0')::numeric * 3600
                         + coalesce(parts[4], '0')::numeric * 60
                         + coalesce(parts[5], '0')::numeric)
        + rpad(left(coalesce(parts[6], '0'), 6), 6, '0')::numeric;
    return case when micros <= 9223372036854775807
                then (case when parts[1] = '-' then -micros else micros end)::bigint end;
end $$;

create function odata_text_guid(value text) returns uuid
    language sql immutable strict parallel safe
    return case when value ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
                then value::uuid end;

-- JSON read as what stands beside it: never converted, null where it is something else.
create function odata_json_text(value jsonb) returns text
    language sql immutable strict parallel safe
    return case when jsonb_typeof(value) = 'string' then value #>> '{}' end;

create function odata_json_boolean(value jsonb) returns boolean
    language sql immutable strict parallel safe
    return case when jsonb_typeof(value) = 'boolean' then value::boolean end;

create function odata_json_double(value jsonb) returns double precision
    language sql immutable strict parallel safe
    return case when jsonb_typeof(value) = 'number'
                then (select case when abs(n) < 1.7976931348623158e308 then n::double precision end
                      from (select value::numeric as n offset 0) as parsed)
           end;

create function odata_json_integer(value jsonb) returns bigint
    language sql immutable strict parallel safe
    return case when jsonb_typeof(value) = 'number'
                then (select case when n = trunc(n)
                                       and n between -9223372036854775808 and 9223372036854775807
                                  then n::bigint end
                      from (select value::numeric as n offset 0) as parsed)
           end;

create function odata_json_items(value jsonb) returns jsonb
    language sql immutable strict parallel safe
    return case when jsonb_typeof(value) = 'array' then value end;

create function odata_json_entries(value jsonb) returns jsonb
    language sql immutable strict parallel safe
    return case when jsonb_typeof(value) = 'object' then value end;

create function odata_entry_count(value jsonb) returns bigint
    language sql immutable parallel safe
    return (select count(*) from jsonb_object_keys(odata_json_entries(value)));

-- When the operation of that id was made.
create function created_at(id uuid) returns timestamptz
    language sql immutable strict parallel safe
    return timestamptz '1970-01-01T00:00:00Z'
        + ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint * interval '1 millisecond';

-- The states of all steps of an operation, wherever they are kept.
create function all_steps(of_id uuid, packed bytea) returns bytea
    language sql stable parallel safe
    return case when packed = ''::bytea
                then (select string_agg(c.steps, ''::bytea order by c.chunk)
                      from step_chunk c
                      where c.operation = of_id)
                else packed end;

create function error_code(of_state smallint, of_stop smallint) returns text
    language sql immutable parallel safe
    return case when of_state = 8 or of_stop = 1 and of_state > 5 then 'OperationTimeout'
                when of_state = 7 then 'StepFailed' end;

-- The reasons that the last attempts of its failed steps gave, one a line.
create function error_message(of_id uuid, of_state smallint, of_stop smallint, packed bytea)
    returns text
    language sql stable parallel safe
    return case error_code(of_state, of_stop)
        when 'OperationTimeout' then 'the operation did not end within its deadline'
        when 'StepFailed' then coalesce(
            (select string_agg(r.message, e'\n' order by r.step)
             from (select distinct on (a.step) a.step, a.exception ->> 'message' as message
                   from attempt a
                   where a.operation = of_id
                   order by a.step, a.attempt desc) r,
                  (select all_steps(of_id, packed) as steps offset 0) s
             where get_byte(s.steps, r.step) in (9, 12, 13)),
            'its last attempt failed')
    end;
