-- Characters of which a case differs, up to $1: beyond U+1FFFF nothing has one. Compared by
-- their bytes.
select code, lower(chr(code)) as lower, upper(chr(code)) as upper
from generate_series(128, $1::int4) as code
where not code between 55296 and 57343
    and (lower(chr(code)) <> chr(code) collate "C" or upper(chr(code)) <> chr(code) collate "C")
