update :"table" set :"column" = $2 where ctid = $1::text::tid returning ctid::text
