// The code stands in the fragment, which no server sees. It leaves the history at once. Another link
// that is opened in the same tab changes the fragment alone, and loads nothing by itself.
"use strict";
const enter = () => {
  const code = location.hash.slice(1);
  if (!code || location.pathname !== "/console/enter") return;
  const form = document.getElementById("enter");
  if (!form) {
    // The page that says why the link before did not sign in.
    location.replace(`/console/enter?again#${code}`);
    return;
  }
  history.replaceState(null, "", location.pathname);
  form.hidden = true;
  document.getElementById("waiting").hidden = false;
  form.elements.code.value = code;
  form.submit();
};
addEventListener("hashchange", enter);
enter();
