update store set timeline = $1 where timeline < $1
