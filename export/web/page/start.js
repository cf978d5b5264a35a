/* Shows a message if the scripts cannot be loaded. It is a plain script, since it must run where modules do not. */
"use strict";

function showProblem(message) {
  document.getElementById("problem-words").textContent = message;
  document.getElementById("problem").hidden = false;
  document.getElementById("loading").hidden = true;
}

addEventListener("error", (event) => {
  if (!(event.target instanceof HTMLScriptElement)) return;
  const message = location.protocol === "file:"
    ? "Browsers run this page only from a web server: run python -m http.server in its folder, then open http://localhost:8000."
    : "A part of the page could not be loaded. Try again, or use a browser from 2023 or later.";
  if (document.readyState !== "loading") showProblem(message);
  else addEventListener("DOMContentLoaded", () => showProblem(message));
}, true);
