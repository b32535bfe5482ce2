// The code stands in the fragment, which no server sees. It leaves the history at once.
"use strict";
const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("enter");
  form.hidden = true;
  document.getElementById("waiting").hidden = false;
  form.elements.code.value = code;
  form.submit();
}
