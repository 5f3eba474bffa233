const numbers = document.getElementById("numbers");
const events = new EventSource("v1/events");
events.addEventListener("stats", ({ data }) => { numbers.textContent = JSON.stringify(JSON.parse(data), null, 2); });
